//! Schedules: how threads walk a kernel's iteration space.

mod contraction;
mod pointwise;
mod rows;

use super::emit::{Emitter, is_pointwise};
use super::ptx::Function;
use crate::shared::form::Form;
use crate::shared::weights::Packing;
use ic_types::Dim;

pub(crate) use contraction::{Contraction, attention, contraction, convolution, flash};

/// The matrix instructions that all GPUs of a plan have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cores {
    /// Those of warps.
    Warps,
    /// Those of warpgroups too.
    Warpgroups,
}

/// A kernel as PTX, and how it is launched.
#[derive(Clone, Debug)]
pub(crate) struct Scheduled {
    /// The function; its name is not set yet.
    pub(crate) function: Function,
    /// What its 32-bit parameters are.
    pub(crate) dims: Vec<Dim>,
    /// Number of blocks.
    pub(crate) blocks: Dim,
    /// How constants are packed that the kernel wants in another layout, by parameter.
    pub(crate) packings: Vec<(usize, Packing)>,
    /// What this schedule is called in names of functions.
    pub(crate) name: &'static str,
}

impl Scheduled {
    fn new(emitter: Emitter, threads: u32, blocks: Dim, name: &'static str) -> Scheduled {
        let (n_buffers, dims) = (emitter.params.len(), emitter.dims);
        let function = emitter.b.finish(String::new(), n_buffers, dims.len(), threads);
        Scheduled { function, dims, blocks, packings: Vec::new(), name }
    }
}

/// Generates a kernel of pointwise and reduce stages. `aligned` says which parameters begin at a multiple of 16 bytes.
///
/// # Errors
/// What there is no code for.
pub(crate) fn generate(form: &Form, aligned: &[bool]) -> Result<Scheduled, String> {
    if is_pointwise(form) { pointwise::generate(form, aligned) } else { rows::generate(form, aligned) }
}

/// `ceil(a / b)`.
fn ceil_div(a: &Dim, b: i64) -> Dim {
    (a.clone() + Dim::constant(b - 1)).floor_div(&Dim::constant(b))
}
