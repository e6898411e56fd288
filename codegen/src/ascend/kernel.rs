//! A kernel for Ascend: its form and its text.

use super::contract::{CubeKernel, lower_contraction};
use super::lower::{VectorKernel, lower_vector};
use super::print::{Spelling, cube_function, vector_function};
use crate::target::AscendTarget;
use ic_ir::kernel::{Anchor, Kernel};
use ic_types::{DType, Dim, DimError};

/// A kernel in the form in which the vendor's compiler takes it.
#[derive(Clone, PartialEq, Debug)]
pub enum AscendKernel {
    /// A function of whole tensors, which the vendor's compiler tiles.
    Vector(VectorKernel),
    /// A contraction, one tile per block.
    Cube(Box<CubeKernel>),
}

/// Lowers a kernel. `None` if it has nothing to do.
///
/// # Errors
/// What has no form that the vendor's compiler accepts.
pub fn lower_kernel(kernel: &Kernel, target: AscendTarget) -> Result<Option<AscendKernel>, String> {
    match kernel.stages.first().map(|stage| &stage.anchor) {
        Some(Anchor::Op { op: ic_ir::Op::Matmul(_), .. }) => {
            Ok(lower_contraction(kernel, target)?.map(|cube| AscendKernel::Cube(Box::new(cube))))
        }
        _ => Ok(lower_vector(kernel, target)?.map(AscendKernel::Vector)),
    }
}

impl AscendKernel {
    /// The text of the kernel as a function called `name`; `kernel` is what it was lowered from.
    pub fn text(&self, kernel: &Kernel, name: &str, spelling: Spelling) -> String {
        match self {
            AscendKernel::Vector(vector) => vector_function(&vector.function, name, spelling),
            AscendKernel::Cube(cube) => {
                let dtypes: Vec<DType> = kernel.params.iter().map(|param| param.dtype).collect();
                cube_function(cube, &dtypes, name, spelling)
            }
        }
    }

    /// The kernel's parameter that each argument of the function is, in order: those that are read, then those that are
    /// written; of a contraction each once.
    pub fn arguments(&self) -> Vec<u32> {
        match self {
            AscendKernel::Vector(vector) => [vector.arguments.as_slice(), &vector.results].concat(),
            AscendKernel::Cube(cube) => cube.params(),
        }
    }

    /// Blocks of a launch; a vector kernel's are the vendor compiler's affair.
    pub fn grid(&self) -> [Dim; 3] {
        match self {
            AscendKernel::Vector(_) => [1, 1, 1].map(Dim::constant),
            AscendKernel::Cube(cube) => cube.grid(),
        }
    }

    /// The scalar arguments of the function, which follow the tensors or buffers.
    pub fn scalars(&self) -> Vec<Dim> {
        match self {
            AscendKernel::Vector(vector) => vector.function.scalar_extents(),
            AscendKernel::Cube(cube) => cube.symbolic_extents(),
        }
    }

    /// The integers that a launch gives beside its buffers: the extents of the axes of the arguments and results that
    /// have no number in the text, in their order, then the scalar arguments.
    pub fn launch_dims(&self) -> Vec<Dim> {
        let of_axes = match self {
            AscendKernel::Vector(VectorKernel { function, .. }) => {
                let results = function.results.iter().map(|&id| function.ty(id));
                let axes = function.arguments.iter().chain(results).flat_map(|ty| &ty.shape);
                axes.filter(|dim| dim.as_const().is_none()).cloned().collect()
            }
            AscendKernel::Cube(_) => Vec::new(),
        };
        [of_axes, self.scalars()].concat()
    }

    /// The kernel with numbers for its symbols.
    ///
    /// # Errors
    /// If a symbol has no value, or an extent none that fits.
    pub fn bound(&self, symbols: &dyn Fn(&str) -> Option<i64>) -> Result<AscendKernel, DimError> {
        let bind = |dim: &Dim| dim.eval(symbols).map(Dim::constant);
        Ok(match self {
            AscendKernel::Vector(vector) => {
                AscendKernel::Vector(VectorKernel { function: vector.function.bound(&bind)?, ..vector.clone() })
            }
            AscendKernel::Cube(cube) => AscendKernel::Cube(Box::new(cube.bound(&bind)?)),
        })
    }

    /// The options with which the vendor's compiler takes the text.
    pub fn compiler_options(&self, target: AscendTarget) -> Vec<String> {
        let mut options = vec!["-enable-hfusion-compile=true".into(), "-enable-hivm-compile=true".into()];
        match self {
            AscendKernel::Vector(vector) => {
                // The vendor's compiler does not divide some kernels that store bits.
                let stores_bits = vector.function.results.iter().any(|&id| vector.function.ty(id).dtype == DType::Bool);
                let blocks = if stores_bits { 1 } else { target.vector_cores() };
                options.push(format!("--block-dim={blocks}"));
            }
            AscendKernel::Cube(_) => options.push("-enable-triton-kernel-compile=true".into()),
        }
        options.extend(target.device().map(|device| format!("--target={device}")));
        options
    }
}
