//! `assign_layout`: convolutions and pools work on channels-last images, and what surrounds them follows.
//!
//! Every value of rank 3 or more has two forms: plain, as the model says, and channels last, with axis 1 moved to the
//! end. Pools need the latter, reshapes and outputs the former, pointwise ops take either, and so do convolutions on CPUs, at
//! different costs. Which nodes work on which form is a minimum cut ([`cut`]): an edge that is cut is a transpose, its capacity
//! the bytes that it moves, or a convolution in the form that is slower for it.
//! Transposes of the model are absorbed where the other form of their operand is already what they make.

mod build;
mod convolution;
mod cut;
mod roles;

use crate::canonicalize::canonicalize;
use crate::fold_constants::fold_constants;
use crate::{Options, PassError, Report};
use ic_ir::Graph;

/// How the elements of a value are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// As its type says.
    Plain,
    /// With axis 1 moved to the end.
    ChannelsLast,
}

impl Form {
    /// For each axis of the stored tensor, the axis of the value.
    fn perm(self, rank: usize) -> Vec<usize> {
        match self {
            Form::ChannelsLast if rank >= 3 => std::iter::once(0).chain(2..rank).chain([1]).collect(),
            _ => (0..rank).collect(),
        }
    }

    /// Where axis `axis` of a value of `rank` is stored.
    fn position(self, axis: usize, rank: usize) -> usize {
        self.perm(rank).iter().position(|&a| a == axis).unwrap_or(axis)
    }
}

/// See the file's header.
///
/// # Errors
/// If a permuted node does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn assign_layout(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let forms = cut::choose_forms(graph, options);
    let region = |region: &Graph| assign_layout(region, options, report);
    let built = build::build(graph, &forms, region)?;
    let folded = fold_constants(&built, options, &mut Report::default())?;
    canonicalize(&folded, options, &mut Report::default())
}
