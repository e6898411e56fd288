//! The steps of plans: library kernels and generated functions.
//!
//! The plan is the same for all CPU targets: functions and kernels are named by index, and each target brings its own
//! code for them. Everything that cannot be compiled is reported, with the model's node.

mod epilogue;
mod following;
mod integer_epilogue;
mod reorder;
mod steps;

use crate::shared::dims::DimBuilder;
use crate::shared::plan::{Built, Planned, add_steps, plan_with};
use ic_ir::kernel::{Kernel, Program};
use ic_ir::{Diagnostic, Graph};

/// How the outer space of a generated function is divided into tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tiling {
    /// However suits the kernel; the step says how far each axis goes.
    Free,
    /// Rows and columns of the result of a contraction: all outer axes but the last, and the last.
    RowsAndColumns,
    /// Whole rows of the result of a contraction.
    Rows,
}

/// A generated function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generated {
    /// Index among the plan's functions.
    pub(crate) function: u32,
    /// Extents of its two outer axes.
    pub(crate) outer: [u32; 2],
    /// About how many nanoseconds an outer point takes.
    pub(crate) cost_ns: u32,
    /// Bytes of scratch of a call.
    pub(crate) scratch_bytes: u32,
}

/// Generates functions for the kernels of a plan.
pub(crate) trait Generator {
    /// Generates the function of a kernel of pointwise and reduce stages, or finds an equal one.
    ///
    /// # Errors
    /// What code cannot be generated for.
    fn generate(&mut self, kernel: &Kernel, tiling: Tiling, dims: &mut DimBuilder) -> Result<Generated, String>;

    /// Names of the functions, by index.
    fn names(&self) -> Vec<String>;
}

/// Builds the plan of a program.
///
/// # Errors
/// Every step that cannot be compiled, and every extent that nothing determines.
pub(crate) fn plan(
    program: &Program,
    graph: &Graph,
    generator: &mut dyn Generator,
) -> Result<Planned, Vec<Diagnostic>> {
    plan_with(program, graph, &mut |dims, buffers, segments| {
        let mut builder = steps::Builder::new(program, generator, dims, buffers);
        add_steps(&mut builder, &program.steps, segments);
        let built = builder.finish();
        Built { functions: generator.names(), ..built }
    })
}
