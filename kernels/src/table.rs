//! The one list of kernels and strips, looked up by name, layout and instruction set.

use crate::abi::{Kernel, Table};
use crate::isa::Isa;
use crate::{attention, conv, experts, gemm, int8, library, norms, strips};

/// The strips that generated code calls on `isa`.
pub fn table(isa: Isa) -> &'static Table {
    strips::table(isa)
}

/// Every kernel, instantiated for `isa`. The caller runs them only on a machine that supports it.
pub fn kernels(isa: Isa) -> impl Iterator<Item = &'static Kernel> {
    [
        gemm::kernels(isa),
        attention::kernels(isa),
        experts::kernels(isa),
        conv::kernels(isa),
        int8::kernels(isa),
        norms::kernels(isa),
        library::KERNELS,
    ]
    .into_iter()
    .flatten()
    .chain(library::FEATURES.iter().flat_map(|(_, kernels)| *kernels))
}

/// The features of this build that an artifact can ask for.
pub fn features() -> impl Iterator<Item = &'static str> {
    library::FEATURES.iter().map(|(name, _)| *name)
}

/// The feature that the kernel `name` is behind, if it is.
pub fn feature_of(name: &str) -> Option<&'static str> {
    let holds = |kernels: &[Kernel]| kernels.iter().any(|kernel| kernel.name == name);
    library::FEATURES.iter().find(|(_, kernels)| holds(kernels)).map(|(feature, _)| *feature)
}

/// The kernel that a plan names `(name, layout)`.
pub fn find(name: &str, layout: u32, isa: Isa) -> Option<&'static Kernel> {
    kernels(isa).find(|kernel| kernel.name == name && kernel.layout == layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_layouts_are_unique() {
        for &isa in Isa::ALL {
            let mut seen: Vec<(&str, u32)> = kernels(isa).map(|kernel| (kernel.name, kernel.layout)).collect();
            let n_kernels = seen.len();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), n_kernels, "{}", isa.name());
        }
    }
}
