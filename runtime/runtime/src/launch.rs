//! What a device with memory of its own needs of a binding: launches with numbers for their dims, and where copies of
//! inputs and outputs lie.

use crate::Error;
use crate::program::Program;
use ic_artifact::{DimSlot, Plan, Step};
use ic_types::DType;
use std::ops::Range;

/// Copies of inputs and outputs begin at multiples of this.
const ALIGNMENT: usize = 256;
/// The most blocks on each axis (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
const MOST_BLOCKS: [i64; 3] = [i32::MAX as i64, 65_535, 65_535];

/// A launch with bound shapes.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "this build has no device that launches"))]
#[derive(Clone, Debug)]
pub(crate) struct BoundLaunch {
    /// Number of blocks on each axis.
    pub(crate) grid: [u32; 3],
    /// The 32-bit parameters, in the binding's list.
    pub(crate) words: Range<usize>,
}

/// Binds a launch; its 32-bit parameters go to the end of `words`.
///
/// # Errors
/// If a value does not fit its parameter or the grid.
pub(crate) fn bind_launch(
    slots: &[i64],
    dims: &[DimSlot],
    grid: [DimSlot; 3],
    words: &mut Vec<i32>,
) -> Result<BoundLaunch, String> {
    let begin = words.len();
    for &slot in dims {
        let value = slots[slot as usize];
        words.push(i32::try_from(value).map_err(|_| format!("a parameter of its kernel is {value}"))?);
    }
    let grid = grid.map(|slot| slots[slot as usize]);
    if grid.iter().zip(MOST_BLOCKS).any(|(&blocks, most)| !(0..=most).contains(&blocks)) {
        return Err(format!("its grid is {grid:?}"));
    }
    Ok(BoundLaunch { grid: grid.map(|blocks| blocks as u32), words: begin..words.len() })
}

/// Copies of what a segment is the first to need of inputs, then of outputs, in one piece of memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Transfers {
    /// First byte and end of each input, in the first segment.
    pub(crate) inputs: Vec<Range<usize>>,
    /// First byte and end of each output that the segment is the first to have a buffer in.
    pub(crate) outputs: Vec<Range<usize>>,
    /// Where the inputs end.
    pub(crate) inputs_end: usize,
    /// Where the outputs begin.
    pub(crate) outputs_begin: usize,
    /// The size of it all, a multiple of the alignment.
    pub(crate) bytes: usize,
}

impl Transfers {
    /// For segment `index`, inputs of the extents in `key` and these outputs with their shapes; `None` if that does not
    /// fit in memory.
    pub(crate) fn new(to: &Program, index: usize, key: &[i64], outputs: &[(usize, Vec<usize>)]) -> Option<Transfers> {
        let mut transfers = Transfers::default();
        let mut rest = key;
        for port in to.entry().inputs.iter().filter(|_| index == 0) {
            let (extents, tail) = rest.split_at_checked(port.shape.len())?;
            rest = tail;
            let part = transfers.part(tensor_bytes(port.dtype, extents.iter().copied())?)?;
            transfers.inputs_end = part.end;
            transfers.inputs.push(part);
        }
        transfers.outputs_begin = transfers.bytes;
        for (output, shape) in outputs {
            let extents = shape.iter().map(|&extent| extent as i64);
            let part = transfers.part(tensor_bytes(to.entry().outputs[*output].dtype, extents)?)?;
            transfers.outputs.push(part);
        }
        Some(transfers)
    }

    /// The next part.
    fn part(&mut self, bytes: usize) -> Option<Range<usize>> {
        let begin = self.bytes;
        self.bytes = begin.checked_add(bytes)?.checked_next_multiple_of(ALIGNMENT)?;
        Some(begin..begin + bytes)
    }
}

/// Bytes of a tensor of `shape`, or `None` if they do not fit.
pub(crate) fn tensor_bytes(dtype: u8, mut shape: impl Iterator<Item = i64>) -> Option<usize> {
    let element = DType::from_code(dtype)?.size()?;
    shape.try_fold(element, |bytes, extent| bytes.checked_mul(usize::try_from(extent).ok()?))
}

/// Whether a device with memory of its own can run a plan: launches, copies and control flow.
///
/// # Errors
/// What of it cannot.
pub(crate) fn check_launches(plan: &Plan) -> Result<(), String> {
    for step in &plan.steps {
        let (name, kind) = match step {
            Step::Library { name, .. } => (name, "a library kernel of CPUs"),
            Step::Code { name, .. } => (name, "code of CPUs"),
            Step::Call { name, .. } => (name, "a call of an entry"),
            Step::Launch { .. }
            | Step::Copy { .. }
            | Step::Branch { .. }
            | Step::Jump { .. }
            | Step::Loop { .. }
            | Step::Next { .. } => continue,
        };
        return Err(format!("`{name}`: {kind}"));
    }
    Ok(())
}

/// Whether the steps of a plan are the same for all data, so that they can be recorded.
pub(crate) fn is_straight(plan: &Plan) -> bool {
    plan.segments.len() == 1
        && plan.steps.iter().all(|step| matches!(step, Step::Launch { .. } | Step::Copy { at: None, .. }))
}

/// The refusal of an entry that a device cannot run.
pub(crate) fn refused(entry: &str, device: &str, problem: &str) -> Error {
    Error::Shapes { entry: entry.into(), problem: format!("{device} does not run {problem}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_grids_have_limits() {
        let mut words = vec![7];
        let bound = bind_launch(&[3, 1, 1 << 40], &[0, 1], [0, 1, 1], &mut words).unwrap();
        assert_eq!((bound.grid, bound.words, words.as_slice()), ([3, 1, 1], 1..3, &[7, 3, 1][..]));
        assert!(bind_launch(&[3, 1, 1 << 40], &[2], [0, 1, 1], &mut words).unwrap_err().contains("1099511627776"));
        assert!(bind_launch(&[3, 1, 1 << 40], &[], [2, 1, 1], &mut words).is_err());
        assert!(bind_launch(&[3, 1, 70_000], &[], [0, 2, 1], &mut words).is_err());
        assert!(bind_launch(&[-1, 1], &[], [0, 1, 1], &mut words).is_err());
    }
}
