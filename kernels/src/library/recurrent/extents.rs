//! Extents of a recurrent layer, and where its rows are.

use super::super::args::error;
use super::super::codes::Direction;
use crate::abi::{KernelError, Operand};
use crate::pack::PANEL;
use ic_types::DType;

/// The extents of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Extents {
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    pub(crate) directions: usize,
    pub(super) gates: usize,
    batch_first: bool,
    pub(super) w_packed: bool,
    pub(super) r_packed: bool,
}

impl Extents {
    /// The extents for `x`, `w` and `r` of these shapes; `attrs` begins with direction and layout.
    pub(crate) fn new(operands: &[Operand], attrs: &[i64], gates: usize) -> Result<Extents, KernelError> {
        let ([x, w, r, ..], [direction, layout, ..]) = (operands, attrs) else {
            return Err(error("expected x, w, r, a direction and a layout"));
        };
        let directions = if Direction::from_code(*direction)? == Direction::Bidirectional { 2 } else { 1 };
        let has_rows_first = w.dtype == DType::F32 || r.shape.len() == 4;
        let (&[first, second, input], Some(&hidden)) = (x.shape, r.shape.get(if has_rows_first { 2 } else { 1 }))
        else {
            return Err(error("expected x of 3 axes and r of 3, or of 4 if packed"));
        };
        let batch_first = *layout != 0;
        let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
        let [steps, batch, input, hidden] = [steps, batch, input, hidden].map(|extent| extent.max(0) as usize);
        let (w_packed, r_packed) = (w.shape.len() == 4, r.shape.len() == 4);
        let found = Extents { steps, batch, input, hidden, directions, gates, batch_first, w_packed, r_packed };
        found.check(w, w_packed, input)?;
        found.check(r, r_packed, hidden)?;
        Ok(found)
    }

    fn check(&self, weights: &Operand, packed: bool, k: usize) -> Result<(), KernelError> {
        let (units, width) =
            if packed { (self.gates * self.padded() / PANEL, PANEL) } else { (self.gates * self.hidden, 1) };
        let is_float = weights.dtype == DType::F32;
        let [rows, columns] = if packed || is_float { [units, k] } else { [k, units] };
        let expected = [self.directions, rows, columns, width];
        let expected = &expected[..weights.shape.len().clamp(3, 4)];
        if weights.shape.iter().map(|&extent| extent as usize).eq(expected.iter().copied()) {
            return Ok(());
        }
        Err(error(format!("expected weights of shape {expected:?}, found {:?}", weights.shape)))
    }

    /// The hidden size, rounded up to whole panels.
    pub(crate) fn padded(&self) -> usize {
        self.hidden.next_multiple_of(PANEL)
    }

    /// Floats in a row of sums.
    pub(super) fn width(&self) -> usize {
        self.gates * self.padded()
    }

    /// Position of row (step, batch) of the input.
    pub(super) fn input_row(&self, step: usize, batch: usize) -> usize {
        if self.batch_first { batch * self.steps + step } else { step * self.batch + batch }
    }

    /// Position of row (step, direction, batch) of the output.
    pub(super) fn output_row(&self, step: usize, direction: usize, batch: usize) -> usize {
        match self.batch_first {
            true => (batch * self.steps + step) * self.directions + direction,
            false => (step * self.directions + direction) * self.batch + batch,
        }
    }

    /// Position of row (direction, batch) of a state operand.
    pub(super) fn state_row(&self, direction: usize, batch: usize) -> usize {
        if self.batch_first { batch * self.directions + direction } else { direction * self.batch + batch }
    }

    /// Floats of scratch: bias, projected inputs, hidden, cell and sums.
    pub(super) fn sizes(&self) -> [usize; 5] {
        let rows = self.directions * self.batch;
        [
            self.directions * self.width(),
            rows * self.steps * self.width(),
            rows * self.padded(),
            rows * self.padded(),
            rows * self.width(),
        ]
    }
}
