//! What LSTM, GRU and RNN layers share: shapes, packed weights, the input projection and the walk over time.
//!
//! The projection of all inputs is one contraction. Each step then adds the contraction of the state. Rows of sums are
//! `gates * padded` floats long, where `padded` is the hidden size rounded up to whole panels. Directions, and parts of the
//! batch, run on threads of their own; no result depends on how they are shared.

use super::args::{Args, error};
use super::codes::Direction;
use super::split::Shared;
use crate::abi::{Call, EpilogueOp, KernelError, Operand, Parallel, Serial, Table};
use crate::gemm::{Contraction, Panels, Rows, Tiles, scratch_bytes};
use crate::isa::Isa;
use crate::pack::{PANEL, pack_recurrent_weights, recurrent_weights_len};
use crate::strips;
use crate::vector::for_isa;

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

/// The extents of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Extents {
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    pub(crate) input: usize,
    pub(crate) hidden: usize,
    pub(crate) directions: usize,
    gates: usize,
    batch_first: bool,
    w_packed: bool,
    r_packed: bool,
}

impl Extents {
    /// The extents for `x`, `w` and `r` of these shapes; `attrs` begins with direction and layout.
    pub(crate) fn new(operands: &[Operand], attrs: &[i64], gates: usize) -> Result<Extents, KernelError> {
        let ([x, w, r, ..], [direction, layout, ..]) = (operands, attrs) else {
            return Err(error("expected x, w, r, a direction and a layout"));
        };
        let directions = if Direction::from_code(*direction)? == Direction::Bidirectional { 2 } else { 1 };
        let (&[first, second, input], Some(&hidden)) = (x.shape, r.shape.get(2)) else {
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
        let expected = [self.directions, units, k, width];
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
    fn width(&self) -> usize {
        self.gates * self.padded()
    }

    /// Position of row (step, batch) of the input.
    fn input_row(&self, step: usize, batch: usize) -> usize {
        if self.batch_first { batch * self.steps + step } else { step * self.batch + batch }
    }

    /// Position of row (step, direction, batch) of the output.
    fn output_row(&self, step: usize, direction: usize, batch: usize) -> usize {
        match self.batch_first {
            true => (batch * self.steps + step) * self.directions + direction,
            false => (step * self.directions + direction) * self.batch + batch,
        }
    }

    /// Position of row (direction, batch) of a state operand.
    fn state_row(&self, direction: usize, batch: usize) -> usize {
        if self.batch_first { batch * self.directions + direction } else { direction * self.batch + batch }
    }

    /// Floats of scratch: weights, bias, projected inputs, hidden, cell and sums.
    fn sizes(&self) -> [usize; 7] {
        let packed = |is_packed, k| {
            if is_packed { 0 } else { recurrent_weights_len(self.directions, self.gates, self.hidden, k) }
        };
        let rows = self.directions * self.batch;
        [
            packed(self.w_packed, self.input),
            packed(self.r_packed, self.hidden),
            self.directions * self.width(),
            rows * self.steps * self.width(),
            rows * self.padded(),
            rows * self.padded(),
            rows * self.width(),
        ]
    }
}

/// Bytes of scratch of a layer with `gates` gates.
pub(crate) fn scratch(operands: &[Operand], attrs: &[i64], threads: usize, gates: usize) -> usize {
    let Ok(extents) = Extents::new(operands, attrs, gates) else { return 0 };
    extents.sizes().iter().sum::<usize>() * size_of::<f32>() + scratch_bytes(1, 0, threads).next_multiple_of(64)
}

/// The operands of a layer that every kind has.
pub(crate) struct Layer<'a> {
    pub(crate) extents: Extents,
    x: &'a [f32],
    weights: [&'a [f32]; 2],
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
        Ok(Layer { extents, x: args.input(0)?, weights: [args.input(1)?, args.input(2)?], lens, is_reverse })
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

    /// Runs the layer. `bias(direction, gate, unit)` is added to the projected input; `initial` are the states before the
    /// first step, if given; outputs are y and the states after the last step.
    pub(crate) fn run<C: Cell>(
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
        let sizes = e.sizes();
        let own = scratch_bytes(1, 0, args.pool().threads()).next_multiple_of(64) / size_of::<f32>();
        // SAFETY: `scratch` asked for these sizes together; this is the only use.
        let (own, mut rest) = unsafe { args.scratch::<f32>(own + sizes.iter().sum::<usize>()) }.split_at_mut(own);
        let mut buffers = sizes.map(|size| {
            let (buffer, more) = std::mem::take(&mut rest).split_at_mut(size);
            rest = more;
            buffer
        });
        for state in 0..2 {
            self.load_state(initial[state], buffers[4 + state]);
        }
        let [w, r, bias_rows, projected, hidden, cells, sums] = &mut buffers;
        let w = self.pack(0, e.w_packed, e.input, w);
        let r = self.pack(1, e.r_packed, e.hidden, r);
        for (i, value) in bias_rows.iter_mut().enumerate() {
            let (unit, gate) = (i % e.padded(), i / e.padded());
            *value = if unit < e.hidden { bias(gate / e.gates, gate % e.gates, unit) } else { 0.0 };
        }
        let own: *mut u8 = own.as_mut_ptr().cast();
        for_isa!(Isa::detect(), V => {
            self.project::<V>(args.pool(), w, bias_rows, own, projected);
            let walk = Walk {
                layer: self,
                cell,
                r,
                projected,
                hidden: Shared::new(hidden),
                cells: Shared::new(cells),
                sums: Shared::new(sums),
                y: y.map(|y| {
                    y.fill(0.0);
                    Shared::new(y)
                }),
                own,
                pool: args.pool(),
            };
            walk.run::<V>();
        });
        self.store_state(hidden, y_h);
        self.store_state(cells, y_c);
        Ok(())
    }

    fn pack<'b>(&'b self, which: usize, packed: bool, k: usize, buffer: &'b mut [f32]) -> &'b [f32] {
        let weights = self.weights[which];
        if packed {
            return weights;
        }
        let e = &self.extents;
        let row = |i: usize, to: &mut [f32]| to.copy_from_slice(&weights[i * k..(i + 1) * k]);
        pack_recurrent_weights(e.directions, e.gates, e.hidden, k, row, buffer);
        buffer
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

    /// Projects all inputs of both directions.
    fn project<V: Tiles>(&self, pool: &dyn Parallel, w: &[f32], bias: &[f32], own: *mut u8, projected: &mut [f32]) {
        let e = &self.extents;
        let (n_rows, width) = (e.steps * e.batch, e.width());
        if n_rows == 0 || width == 0 {
            return;
        }
        for direction in 0..e.directions {
            let epilogue = [EpilogueOp::AddColumn(bias[direction * width..].as_ptr())];
            let w = &w[direction * width * e.input..];
            let y = &mut projected[direction * n_rows * width..];
            let product =
                Product { a: self.x, a_stride: e.input, k: e.input, b: w, n_rows, columns: width, y_stride: width };
            // SAFETY: The instruction set was detected; the buffers have these extents; `own` is for all threads.
            unsafe { product.run::<V>(y.as_mut_ptr(), pool, &epilogue, own) };
        }
    }
}

/// `y[i] = a[i] x b` for rows `i`, where `b` is packed.
struct Product<'a> {
    a: &'a [f32],
    a_stride: usize,
    k: usize,
    b: &'a [f32],
    n_rows: usize,
    columns: usize,
    y_stride: usize,
}

/// Rows at constant distances.
struct EvenRows {
    a: *const f32,
    a_stride: usize,
    y_stride: usize,
}

// SAFETY: Rows are only read.
unsafe impl Sync for EvenRows {}

impl Rows for EvenRows {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], _: *mut f32) {
        for (i, offset) in offsets.iter_mut().enumerate() {
            *offset = ((first + i) * self.y_stride) as isize;
            // SAFETY: There is room for a pointer per row; the row exists.
            unsafe { *pointers.add(i) = self.a.add((first + i) * self.a_stride) };
        }
    }
}

impl Product<'_> {
    /// # Safety
    /// The machine has `V`; `y` has room for the rows, and `own` is scratch for all threads of `pool`.
    unsafe fn run<V: Tiles>(&self, y: *mut f32, pool: &dyn Parallel, epilogue: &[EpilogueOp], own: *mut u8) {
        let call = Call { operands: &[], attrs: &[], epilogue, callback: None, scratch: own, pool };
        let contraction = Contraction {
            call: &call,
            rows: EvenRows { a: self.a.as_ptr(), a_stride: self.a_stride, y_stride: self.y_stride },
            n_rows: self.n_rows,
            first_row: 0,
            segments: 1,
            segment_len: self.k,
            b: Panels::packed(self.b.as_ptr(), self.k),
            columns: 0..self.columns,
            y,
            scratch: own,
            copy_len: 0,
            widened_bytes: 0,
        };
        // SAFETY: The caller's promise.
        unsafe { contraction.run::<V>() };
    }
}

/// The walk over time.
struct Walk<'a, 'b, C> {
    layer: &'a Layer<'b>,
    cell: &'a C,
    r: &'a [f32],
    projected: &'a [f32],
    hidden: Shared<f32>,
    cells: Shared<f32>,
    sums: Shared<f32>,
    y: Option<Shared<f32>>,
    own: *mut u8,
    pool: &'a dyn Parallel,
}

// SAFETY: Tasks write rows of their own (direction, batch), and scratch of their own thread.
unsafe impl<C: Sync> Sync for Walk<'_, '_, C> {}

impl<C: Cell> Walk<'_, '_, C> {
    fn run<V: Tiles>(&self) {
        let e = &self.layer.extents;
        if e.hidden == 0 || e.batch == 0 {
            return;
        }
        let groups = self.pool.threads().div_ceil(e.directions).min(e.batch);
        let tasks = e.directions * groups;
        let part = |group: usize| e.batch * group / groups;
        if tasks == 1 {
            let wide = e.batch * e.width() * e.hidden >= WIDE_STEP;
            let pool: &dyn Parallel = if wide { self.pool } else { &Serial };
            self.run_part::<V>(0, 0..e.batch, pool, self.own);
            return;
        }
        self.pool.run(tasks, &|range, thread| {
            let own = self.own.wrapping_add(scratch_bytes(1, 0, 1) * thread);
            for task in range {
                let (direction, group) = (task / groups, task % groups);
                self.run_part::<V>(direction, part(group)..part(group + 1), &Serial, own);
            }
        });
    }

    /// All steps of some rows of the batch in one direction.
    fn run_part<V: Tiles>(&self, direction: usize, batch: std::ops::Range<usize>, pool: &dyn Parallel, own: *mut u8) {
        let e = &self.layer.extents;
        let len = |b: usize| self.layer.lens.map_or(e.steps, |lens| lens[b] as usize);
        let steps = batch.clone().map(len).max().unwrap_or(0);
        let (width, padded) = (e.width(), e.padded());
        let r = &self.r[direction * width * e.hidden..];
        let first = direction * e.batch + batch.start;
        // Where the second product applies the last gate's weights, the first leaves them out.
        let last_gate = (e.gates - 1) * padded;
        let columns = if self.cell.has_second_product() { last_gate } else { width };
        for step in 0..steps {
            self.product::<V>(&self.hidden, (first, batch.len()), &r[..columns * e.hidden], 0, pool, own);
            let active = batch.clone().filter(|&b| step < len(b));
            if self.cell.has_second_product() {
                active.clone().for_each(|b| self.cell.begin(&mut self.row::<V>(direction, b, step, len(b))));
                self.product::<V>(&self.cells, (first, batch.len()), &r[last_gate * e.hidden..], last_gate, pool, own);
            }
            for b in active {
                let mut row = self.row::<V>(direction, b, step, len(b));
                self.cell.finish(&mut row);
                if let Some(y) = &self.y {
                    let at = e.output_row(self.time(direction, step, len(b)), direction, b) * e.hidden;
                    // SAFETY: The row is this task's own and lies in `y`.
                    unsafe { y.part(at..at + e.hidden) }.copy_from_slice(&row.hidden[..e.hidden]);
                }
            }
        }
    }

    /// The time of step `step` of a sequence of `len`.
    fn time(&self, direction: usize, step: usize, len: usize) -> usize {
        if direction == 1 || self.layer.is_reverse { len - 1 - step } else { step }
    }

    /// Contracts rows `first..first + n_rows` of a state to columns `column..` of their sums.
    fn product<V: Tiles>(
        &self,
        state: &Shared<f32>,
        (first, n_rows): (usize, usize),
        b: &[f32],
        column: usize,
        pool: &dyn Parallel,
        own: *mut u8,
    ) {
        let e = &self.layer.extents;
        let (width, padded) = (e.width(), e.padded());
        let columns = (b.len() / e.hidden).min(width - column);
        // SAFETY: The rows are this task's own, and nothing writes the state meanwhile.
        let a = &*unsafe { state.part(first * padded..(first + n_rows) * padded) };
        // SAFETY: As above, for the sums.
        let sums = unsafe { self.sums.part(first * width..(first + n_rows) * width) };
        let product = Product { a, a_stride: padded, k: e.hidden, b, n_rows, columns, y_stride: width };
        // SAFETY: The instruction set was detected; sums have room; `own` is for the threads of `pool`.
        unsafe { product.run::<V>(sums[column..].as_mut_ptr(), pool, &[], own) };
    }

    fn row<V: Tiles>(&self, direction: usize, batch: usize, step: usize, len: usize) -> Row<'_> {
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
        Row { direction, projected, sums, hidden, cell, table: strips::table_of::<V>() }
    }
}
