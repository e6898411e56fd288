//! How much a kernel does, as the plan tells whoever measures its steps.

use super::Buffers;
use crate::shared::dims::DimBuilder;
use crate::shared::weights::Integers;
use ic_artifact::StepWork;
use ic_ir::kernel::{BufferId, BufferKind, Kernel, Program, Traffic, Work, traffic, work};
use ic_types::Dim;

/// Operations and bytes of a kernel, by the symbols of the graph.
pub(crate) struct KernelWork {
    /// Its first step.
    step: u32,
    work: Work,
    activations: Dim,
    weights: Dim,
}

impl KernelWork {
    /// What `kernel`, whose steps begin with `step`, does on these buffers.
    pub(crate) fn of(
        kernel: &Kernel,
        args: &[BufferId],
        step: u32,
        program: &Program,
        buffers: &Buffers,
    ) -> KernelWork {
        let kind = |param: u32| &program.buffers[args[param as usize] as usize].kind;
        let is_activation = |param: u32| !matches!(kind(param), BufferKind::Constant(_));
        let Traffic { read, written } = traffic(kernel, &is_activation);
        let weights = (0..args.len() as u32).filter_map(|param| {
            let BufferKind::Constant(value) = kind(param) else { return None };
            let bits = match (buffers.widened(*value), buffers.integers(*value)) {
                // Each group of integers has a scale of 16 bits.
                (Some(shape), _) => shape.bits as usize + shape.group.map_or(0, |group| 16 / group),
                // Each has one of f32.
                (None, Some(Integers { group, dtype, .. })) => dtype.bits() + 32 / group.max(1),
                (None, None) => buffers.storage(*value).bits(),
            };
            let elements = traffic(kernel, &|other| other == param).read;
            Some((elements * Dim::constant(bits as i64)).floor_div(&bits_of(kernel, param)))
        });
        KernelWork { step, work: work(kernel), activations: read + written, weights: weights.sum() }
    }

    /// The slots of it all; `None` if it depends on a symbol that nothing determines.
    pub(super) fn slots(&self, dims: &mut DimBuilder) -> Option<StepWork> {
        Some(StepWork {
            step: self.step,
            operations: dims.slot(&self.work.operations).ok()?,
            is_integer: self.work.is_integer,
            activations: dims.slot(&self.activations).ok()?,
            weights: dims.slot(&self.weights).ok()?,
        })
    }
}

/// Bits of an element of a parameter as the kernel sees it.
fn bits_of(kernel: &Kernel, param: u32) -> Dim {
    let dtype = kernel.params[param as usize].dtype;
    Dim::constant(8 * dtype.size().unwrap_or(1) as i64)
}
