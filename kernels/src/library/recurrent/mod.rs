//! What LSTM, GRU and RNN layers share: shapes, packed weights, the input projection and the walk over time.
//!
//! The projection of all inputs is one contraction. Each step then adds the contraction of the state. Weights are floats or
//! bytes ([`Weights`]). Rows of sums are `gates * padded` floats long, where `padded` is the hidden size rounded up to whole panels. Directions, and parts of the
//! batch, run on threads of their own; no result depends on how they are shared.

mod extents;
mod float;
mod int8;
#[cfg(test)]
mod oracle;

pub(crate) use extents::Extents;
pub(crate) use float::Floats;
pub(crate) use int8::Quantized;

use super::args::{Args, error};
use super::codes::Direction;
use super::split::Shared;
use crate::abi::{KernelError, Operand, Parallel, Serial, Table};
use crate::cache::caches;
use crate::gemm::part;
use crate::isa::Isa;
use crate::pack::PANEL;
use crate::table::table;
use crate::vector::for_isa;
use std::ops::Range;

/// Multiply-adds in a step from which threads share it, where nothing else can be shared.
const WIDE_STEP: usize = 1 << 19;

/// One row of a step.
pub(crate) struct Row<'a> {
    /// 0, or 1 for the second of two directions.
    pub(crate) direction: usize,
    /// The projected input with the bias, `gates * padded`.
    pub(crate) projected: &'a [f32],
    /// The state's contraction, `gates * padded`; free to be overwritten.
    pub(crate) sums: &'a mut [f32],
    /// The state `h`, `padded`.
    pub(crate) hidden: &'a mut [f32],
    /// The state `c` of an LSTM; elsewhere of the cell's own use.
    pub(crate) cell: &'a mut [f32],
    /// Math functions.
    pub(crate) table: &'a Table,
}

/// The equations of a layer.
pub(crate) trait Cell: Sync {
    /// Whether `begin` leaves in `cell` what the last gate's weights are to be applied to, instead of the state.
    fn has_second_product(&self) -> bool {
        false
    }

    /// What precedes the second product.
    fn begin(&self, _row: &mut Row) {}

    /// From the sums to the next state.
    fn finish(&self, row: &mut Row);
}

/// Rows of a state, the padded hidden size apart.
pub(crate) struct States<'a> {
    /// 0, or 1 for the second of two directions.
    pub(crate) direction: usize,
    /// The rows.
    pub(crate) rows: &'a [f32],
    /// The step that they are read for.
    step: usize,
    /// The lengths of their sequences, if these differ.
    lens: Option<&'a [i32]>,
}

impl States<'_> {
    /// Number of rows.
    pub(crate) fn len(&self, padded: usize) -> usize {
        self.rows.len() / padded.max(1)
    }

    /// Whether the sequence of row `row` goes on.
    pub(crate) fn is_active(&self, row: usize) -> bool {
        self.lens.is_none_or(|lens| self.step < lens[row] as usize)
    }
}

/// The weights of a layer, and how rows are multiplied with them.
pub(crate) trait Weights<'a>: Sync + Sized {
    /// Whether what a row is multiplied to depends on the other rows of its direction.
    const JOINT: bool;

    /// Floats of scratch.
    fn floats(extents: &Extents) -> usize;

    /// Bytes of scratch that `threads` threads need for their products, those of each in order.
    fn own_bytes(extents: &Extents, threads: usize) -> usize;

    /// The weights of a call, with scratch of [`floats`](Self::floats).
    fn new(args: &Args<'a>, extents: Extents, scratch: &'a mut [f32]) -> Result<Self, KernelError>;

    /// Writes all inputs times the first weights of a direction, plus the bias.
    fn project(&self, direction: usize, bias: &[f32], to: &mut [f32], pool: &dyn Parallel, own: *mut u8);

    /// Writes rows of a state times `columns` of the second weights to these columns of the rows of `sums`.
    fn step(&self, states: &States, columns: Range<usize>, sums: &mut [f32], pool: &dyn Parallel, own: *mut u8);
}

/// Bytes of [`Weights::own_bytes`], to a whole number of cache lines.
fn own_bytes<'a, W: Weights<'a>>(extents: &Extents, threads: usize) -> usize {
    W::own_bytes(extents, threads).next_multiple_of(64)
}

/// Bytes of scratch of a layer with weights `W` of `gates` gates.
pub(crate) fn scratch<'a, W: Weights<'a>>(operands: &[Operand], attrs: &[i64], threads: usize, gates: usize) -> usize {
    let Ok(extents) = Extents::new(operands, attrs, gates) else { return 0 };
    let floats = extents.sizes().iter().sum::<usize>() + W::floats(&extents);
    floats * size_of::<f32>() + own_bytes::<W>(&extents, threads)
}

/// [`scratch`] of a layer with weights of f32.
pub(crate) fn float_scratch(operands: &[Operand], attrs: &[i64], threads: usize, gates: usize) -> usize {
    for_isa!(Isa::detect(), V => scratch::<Floats<V>>(operands, attrs, threads, gates))
}

/// The operands of a layer that every kind has.
pub(crate) struct Layer<'a> {
    pub(crate) extents: Extents,
    lens: Option<&'a [i32]>,
    is_reverse: bool,
}

impl<'a> Layer<'a> {
    /// The operands of a call: x, w, r, then at 4 the sequence lengths.
    pub(crate) fn new(args: &Args<'a>, gates: usize) -> Result<Layer<'a>, KernelError> {
        let operands = [*args.operand(0)?, *args.operand(1)?, *args.operand(2)?];
        let extents = Extents::new(&operands, args.list(0), gates)?;
        let lens = args.optional::<i32>(4)?;
        if let Some(lens) = lens {
            if lens.len() != extents.batch {
                return Err(error(format!("expected {} sequence lengths, found {}", extents.batch, lens.len())));
            }
            if let Some(len) = lens.iter().find(|&&len| len < 0 || len as usize > extents.steps) {
                return Err(error(format!("sequence length {len} is out of range for {} steps", extents.steps)));
            }
        }
        let is_reverse = Direction::from_code(args.attr(0)?)? == Direction::Reverse;
        Ok(Layer { extents, lens, is_reverse })
    }

    /// Input `index`, which has `len` elements if it was given.
    pub(crate) fn optional(args: &Args<'a>, index: usize, len: usize) -> Result<Option<&'a [f32]>, KernelError> {
        let found = args.optional::<f32>(index)?;
        match found {
            Some(values) if values.len() != len => {
                Err(error(format!("operand #{index}: expected {len} elements, found {}", values.len())))
            }
            _ => Ok(found),
        }
    }

    /// Runs a layer with weights of f32, as [`run_with`](Self::run_with) says.
    pub(crate) fn run<C: Cell>(
        &self,
        args: &mut Args<'a>,
        cell: &C,
        bias: impl Fn(usize, usize, usize) -> f32,
        initial: [Option<&[f32]>; 2],
        has_cell_output: bool,
    ) -> Result<(), KernelError> {
        for_isa!(Isa::detect(), V => {
            self.run_with::<C, Floats<V>>(args, cell, bias, initial, has_cell_output)
        })
    }

    /// Runs the layer. `bias(direction, gate, unit)` is added to the projected input; `initial` are the states before the
    /// first step, if given; outputs are y and the states after the last step.
    pub(crate) fn run_with<C: Cell, W: Weights<'a>>(
        &self,
        args: &mut Args<'a>,
        cell: &C,
        bias: impl Fn(usize, usize, usize) -> f32,
        initial: [Option<&[f32]>; 2],
        has_cell_output: bool,
    ) -> Result<(), KernelError> {
        let e = &self.extents;
        let y = args.optional_output::<f32>()?;
        let y_h = args.optional_output::<f32>()?;
        let y_c = if has_cell_output { args.optional_output::<f32>()? } else { None };
        let state_len = e.directions * e.batch * e.hidden;
        for (output, len) in [(&y, state_len * e.steps), (&y_h, state_len), (&y_c, state_len)] {
            if output.as_ref().is_some_and(|output| output.len() != len) {
                return Err(error(format!("expected an output of {len} elements")));
            }
        }
        let (sizes, pool) = (e.sizes(), args.pool());
        let len = W::floats(e) + sizes.iter().sum::<usize>();
        // SAFETY: `scratch` asked for these sizes together; this is the only use.
        let (own, rest) = unsafe { args.scratch_behind::<f32>(own_bytes::<W>(e, pool.threads()), len) };
        let (packed, mut rest) = rest.split_at_mut(W::floats(e));
        let mut buffers = sizes.map(|size| {
            let (buffer, more) = std::mem::take(&mut rest).split_at_mut(size);
            rest = more;
            buffer
        });
        for state in 0..2 {
            self.load_state(initial[state], buffers[2 + state]);
        }
        let [bias_rows, projected, hidden, cells, sums] = &mut buffers;
        for (i, row) in bias_rows.chunks_exact_mut(e.padded().max(1)).enumerate() {
            let (direction, gate) = (i / e.gates, i % e.gates);
            row[..e.hidden].iter_mut().enumerate().for_each(|(unit, value)| *value = bias(direction, gate, unit));
        }
        let weights = W::new(args, *e, packed)?;
        let (rows, width) = (e.steps * e.batch, e.width());
        for direction in (0..e.directions).filter(|_| rows * width > 0) {
            let bias = &bias_rows[direction * width..][..width];
            weights.project(direction, bias, &mut projected[direction * rows * width..][..rows * width], pool, own);
        }
        let walk = Walk {
            layer: self,
            cell,
            weights: &weights,
            projected,
            hidden: Shared::new(hidden),
            cells: Shared::new(cells),
            sums: Shared::new(sums),
            y: y.map(|y| {
                // Steps after the end of a sequence are written by none.
                if self.lens.is_some() {
                    y.fill(0.0);
                }
                Shared::new(y)
            }),
            own,
            pool,
            table: table(Isa::detect()),
        };
        walk.run();
        self.store_state(hidden, y_h);
        self.store_state(cells, y_c);
        Ok(())
    }

    /// Copies a state operand to rows of `padded` floats.
    fn load_state(&self, from: Option<&[f32]>, to: &mut [f32]) {
        let (e, Some(from)) = (&self.extents, from) else { return };
        for (i, row) in to.chunks_exact_mut(e.padded().max(1)).enumerate() {
            let at = e.state_row(i / e.batch, i % e.batch) * e.hidden;
            row[..e.hidden].copy_from_slice(&from[at..at + e.hidden]);
        }
    }

    fn store_state(&self, from: &[f32], to: Option<&mut [f32]>) {
        let (e, Some(to)) = (&self.extents, to) else { return };
        for (i, row) in from.chunks_exact(e.padded().max(1)).enumerate() {
            let at = e.state_row(i / e.batch, i % e.batch) * e.hidden;
            to[at..at + e.hidden].copy_from_slice(&row[..e.hidden]);
        }
    }
}

/// Pieces of weights that fill the second-level cache.
const PIECES: usize = 8;

/// The walk over time.
struct Walk<'a, 'b, C, W> {
    layer: &'a Layer<'b>,
    cell: &'a C,
    weights: &'a W,
    projected: &'a [f32],
    hidden: Shared<f32>,
    cells: Shared<f32>,
    sums: Shared<f32>,
    y: Option<Shared<f32>>,
    own: *mut u8,
    pool: &'a dyn Parallel,
    table: &'a Table,
}

// SAFETY: Tasks write rows of their own (direction, batch), and scratch of their own thread.
unsafe impl<C: Sync, W: Sync> Sync for Walk<'_, '_, C, W> {}

impl<'b, C: Cell, W: Weights<'b>> Walk<'_, 'b, C, W> {
    fn run(&self) {
        let e = &self.layer.extents;
        if e.hidden == 0 || e.batch == 0 {
            return;
        }
        let groups = if W::JOINT { 1 } else { self.pool.threads().div_ceil(e.directions).min(e.batch) };
        let tasks = e.directions * groups;
        let part = |group: usize| e.batch * group / groups;
        if tasks == 1 {
            let wide = e.batch * e.width() * e.hidden >= WIDE_STEP;
            let pool: &dyn Parallel = if wide { self.pool } else { &Serial };
            self.run_part(0, 0..e.batch, pool, self.own);
            return;
        }
        self.pool.run(tasks, &|range, thread| {
            let own = self.own.wrapping_add(W::own_bytes(e, 1) * thread);
            for task in range {
                let (direction, group) = (task / groups, task % groups);
                self.run_part(direction, part(group)..part(group + 1), &Serial, own);
            }
        });
    }

    /// All steps of some rows of the batch in one direction.
    fn run_part(&self, direction: usize, batch: Range<usize>, pool: &dyn Parallel, own: *mut u8) {
        let e = &self.layer.extents;
        let len = |b: usize| self.layer.lens.map_or(e.steps, |lens| lens[b] as usize);
        let steps = batch.clone().map(len).max().unwrap_or(0);
        let width = e.width();
        let first = direction * e.batch + batch.start;
        let product = |step: usize, state: &Shared<f32>, columns: Range<usize>| {
            let (rows, lens) = (first..first + batch.len(), self.layer.lens.map(|lens| &lens[batch.clone()]));
            // SAFETY: The rows are this task's own, and nothing writes the state meanwhile.
            let (rows, sums) = unsafe {
                let from = rows.start * e.padded()..rows.end * e.padded();
                (&*state.part(from), self.sums.part(rows.start * width..rows.end * width))
            };
            self.weights.step(&States { direction, rows, step, lens }, columns, sums, pool, own);
        };
        // Where the second product applies the last gate's weights, the first leaves them out.
        let last_gate = (e.gates - 1) * e.padded();
        let columns = if self.cell.has_second_product() { last_gate } else { width };
        let pieces = self.pieces(columns);
        for step in 0..steps {
            for i in 0..pieces {
                let index = if step % 2 == 0 { i } else { pieces - 1 - i };
                let panels = part(columns / PANEL, pieces, index);
                product(step, &self.hidden, panels.start * PANEL..panels.end * PANEL);
            }
            let active = batch.clone().filter(|&b| step < len(b));
            if self.cell.has_second_product() {
                active.clone().for_each(|b| self.cell.begin(&mut self.row(direction, b, step, len(b))));
                product(step, &self.cells, last_gate..width);
            }
            for b in active {
                let mut row = self.row(direction, b, step, len(b));
                self.cell.finish(&mut row);
                if let Some(y) = &self.y {
                    let at = e.output_row(self.time(direction, step, len(b)), direction, b) * e.hidden;
                    // SAFETY: The row is this task's own and lies in `y`.
                    unsafe { y.part(at..at + e.hidden) }.copy_from_slice(&row.hidden[..e.hidden]);
                }
            }
        }
    }

    /// Into how many pieces the columns of a step's product are cut. Weights that the second-level cache does not hold are
    /// walked forwards and backwards in turn, so that each step finds there what the one before it has read last.
    fn pieces(&self, columns: usize) -> usize {
        let (bytes, l2) = (columns * self.layer.extents.hidden * size_of::<f32>(), caches().l2);
        if W::JOINT || bytes <= l2 / 2 { 1 } else { bytes.div_ceil(l2 / PIECES).min(columns / PANEL) }
    }

    /// The time of step `step` of a sequence of `len`.
    fn time(&self, direction: usize, step: usize, len: usize) -> usize {
        if direction == 1 || self.layer.is_reverse { len - 1 - step } else { step }
    }

    fn row(&self, direction: usize, batch: usize, step: usize, len: usize) -> Row<'_> {
        let e = &self.layer.extents;
        let (width, padded) = (e.width(), e.padded());
        let from = direction * e.steps * e.batch + e.input_row(self.time(direction, step, len), batch);
        let at = direction * e.batch + batch;
        // SAFETY: The row (direction, batch) of each buffer is this task's own, and taken once at a time.
        let (sums, hidden, cell) = unsafe {
            (
                self.sums.part(at * width..(at + 1) * width),
                self.hidden.part(at * padded..(at + 1) * padded),
                self.cells.part(at * padded..(at + 1) * padded),
            )
        };
        let projected = &self.projected[from * width..(from + 1) * width];
        Row { direction, projected, sums, hidden, cell, table: self.table }
    }
}
