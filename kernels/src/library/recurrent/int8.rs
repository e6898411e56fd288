//! Weights of 8-bit integers: inputs and states are quantized to u8 by their range before each product.
//!
//! All inputs have one range; so have, at each step, the states of a direction whose sequences go on.

use super::super::args::{Args, error};
use super::super::quantize::{Steps, bounds, round_to_bytes};
use super::super::split::{Shared, rows, vectorized};
use super::{Extents, States, Weights};
use crate::abi::{Call, EpilogueOp, KernelError, Parallel};
use crate::gemm::Rows;
use crate::host::Host;
use crate::int8::{Contraction, Corrections, IntTiles, Stored, bytes_of, scratch_bytes, zero_at};
use crate::pack::{Segments, pack_int8_recurrent};
use std::marker::PhantomData;
use std::ops::Range;

/// Packed weights, multiplied as `D` does.
pub(crate) struct Quantized<'a, D> {
    extents: Extents,
    /// The inputs, and how they became bytes.
    x: (&'a [u8], Steps),
    w: Factor<'a>,
    r: Factor<'a>,
    /// What the sums of each direction's columns start from.
    starts: Shared<i32>,
    /// The scale of each direction's columns: that of the rows times that of the weights.
    scales: Shared<f32>,
    /// The states of each direction.
    states: Shared<u8>,
    dot: PhantomData<fn() -> D>,
}

/// `w` or `r` of all directions.
struct Factor<'a> {
    packed: *const u8,
    k: Segments,
    /// For each column `k * zero point - sum`, which a zero point of the rows is multiplied by.
    corrections: &'a [i32],
    /// The zero point of each column, if any is not 0.
    zeros: Option<&'a [i32]>,
    /// The scale of each column.
    scales: &'a [f32],
}

// SAFETY: Weights are only read.
unsafe impl Sync for Factor<'_> {}

/// Floats that a packed matrix for each direction takes, unless it is packed already.
fn packed_floats(e: &Extents, is_packed: bool, k: usize) -> usize {
    let bytes = Segments { count: 1, len: k }.packed_bytes(e.width());
    if is_packed { 0 } else { e.directions * bytes / size_of::<f32>() }
}

impl<'a> Factor<'a> {
    /// The weights of operand `index`, which are multiplied with rows of `k`; `scale` is the operand with their scales.
    fn new(
        args: &Args<'a>,
        e: &Extents,
        (index, scale): (usize, usize),
        (is_packed, k): (bool, usize),
        scratch: &mut &'a mut [f32],
    ) -> Result<Factor<'a>, KernelError> {
        let weights = args.operand(index)?;
        let (bytes, segments) = (bytes_of(weights)?, Segments { count: 1, len: k });
        let mut packed = weights.data.cast_const();
        if !is_packed {
            let elements = args.input::<u8>(index)?;
            let to = bytes_in(take(scratch, packed_floats(e, is_packed, k)));
            pack_int8_recurrent(e.directions, e.gates, e.hidden, k, bytes, elements, to);
            packed = to.as_ptr();
        }
        let columns = e.directions * e.width();
        let corrections = ints_in(take(scratch, columns));
        let zeros = ints_in(take(scratch, columns));
        let scales = take(scratch, columns);
        let given = args.input::<f32>(scale)?;
        let per_direction = given.len() / e.directions;
        let zero_points = args.operand(scale + 1)?;
        let n_zeros = if zero_points.is_present() { zero_points.len() } else { given.len() };
        if ![1, e.gates * e.hidden].contains(&per_direction) || n_zeros != given.len() {
            return Err(error(format!(
                "expected a scale and a zero point for each direction or column, found {n_zeros}"
            )));
        }
        for column in (0..columns).filter(|column| column % e.padded() < e.hidden) {
            let (direction, within) = (column / e.width(), column % e.width());
            let at = within / e.padded() * e.hidden + within % e.padded();
            let of = direction * per_direction + at % per_direction;
            let sums =
                packed.wrapping_add(direction * segments.packed_bytes(e.width()) + segments.panel_bytes_of(e.width()));
            // SAFETY: A sum for each column follows each packed matrix; there is a zero point for each scale.
            let (sum, zero) =
                unsafe { (sums.cast::<i32>().add(within).read_unaligned(), zero_at(zero_points, of) + bytes.shift()) };
            scales[column] = given[of];
            zeros[column] = zero;
            corrections[column] = (k as i32).wrapping_mul(zero).wrapping_sub(sum);
        }
        let zeros = zeros.iter().any(|&zero| zero != 0).then_some(&*zeros);
        Ok(Factor { packed, k: segments, corrections, zeros, scales })
    }
}

/// The first `len` of `rest`, which are taken away from it.
fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (taken, more) = std::mem::take(rest).split_at_mut(len);
    *rest = more;
    taken
}

fn ints_in(floats: &mut [f32]) -> &mut [i32] {
    // SAFETY: Both types have 4 bytes, and all bits are values of both.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), floats.len()) }
}

fn bytes_in(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: The bytes are those of the floats; all are values of both.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
}

/// Floats that hold `bytes`.
fn floats_for(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<f32>())
}

impl<'a, D: IntTiles> Weights<'a> for Quantized<'a, D> {
    const JOINT: bool = true;

    fn floats(e: &Extents) -> usize {
        let packed = packed_floats(e, e.w_packed, e.input) + packed_floats(e, e.r_packed, e.hidden);
        let lists = 8 * e.directions * e.width();
        packed + lists + floats_for(e.steps * e.batch * e.input) + floats_for(e.directions * e.batch * e.hidden)
    }

    fn own_bytes(e: &Extents, threads: usize) -> usize {
        let k = Segments { count: 1, len: e.input.max(e.hidden) };
        scratch_bytes::<D>(k, 0, threads)
    }

    fn new(args: &Args<'a>, e: Extents, mut scratch: &'a mut [f32]) -> Result<Self, KernelError> {
        let rest = &mut scratch;
        let w = Factor::new(args, &e, (1, 8), (e.w_packed, e.input), rest)?;
        let r = Factor::new(args, &e, (2, 10), (e.r_packed, e.hidden), rest)?;
        let columns = e.directions * e.width();
        let (starts, scales) = (ints_in(take(rest, columns)), take(rest, columns));
        let x = args.input::<f32>(0)?;
        let quantized = &mut bytes_in(take(rest, floats_for(x.len())))[..x.len()];
        let states = bytes_in(take(rest, floats_for(e.directions * e.batch * e.hidden)));
        let steps = Steps::of(bounds(x));
        rows(args.pool(), quantized, 1, 4, |first, part| round_to_bytes(part, &x[first..], steps.step, steps.zero));
        let (starts, scales, states) = (Shared::new(starts), Shared::new(scales), Shared::new(states));
        Ok(Quantized { extents: e, x: (quantized, steps), w, r, starts, scales, states, dot: PhantomData })
    }

    fn project(&self, direction: usize, bias: &[f32], to: &mut [f32], pool: &dyn Parallel, own: *mut u8) {
        let rows = ByteRows { a: self.x.0, k: self.extents.input, y_stride: self.extents.width() };
        let columns = 0..self.extents.width();
        let place = Place { direction, columns, bias: Some(bias), y: to };
        self.multiply(&self.w, (rows, self.extents.steps * self.extents.batch, self.x.1), place, pool, own);
    }

    fn step(&self, states: &States, columns: Range<usize>, sums: &mut [f32], pool: &dyn Parallel, own: *mut u8) {
        let e = &self.extents;
        let n_rows = states.len(e.padded());
        let row = |i: usize| &states.rows[i * e.padded()..][..e.hidden];
        let ranges = (0..n_rows).filter(|&i| states.is_active(i)).map(|i| bounds(row(i)));
        let steps = Steps::of(ranges.fold((0.0, 0.0), |(low, high), range| (low.min(range.0), high.max(range.1))));
        let (first, direction) = (states.direction * e.batch * e.hidden, states.direction);
        // SAFETY: A direction is one task, which alone uses its part.
        let bytes = unsafe { self.states.part(first..first + n_rows * e.hidden) };
        for (i, bytes) in bytes.chunks_exact_mut(e.hidden).enumerate() {
            round_to_bytes(bytes, row(i), steps.step, steps.zero);
        }
        let rows = ByteRows { a: bytes, k: e.hidden, y_stride: e.width() };
        self.multiply(&self.r, (rows, n_rows, steps), Place { direction, columns, bias: None, y: sums }, pool, own);
    }
}

/// Where products go.
struct Place<'a> {
    direction: usize,
    columns: Range<usize>,
    /// What is added to each column.
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl<D: IntTiles> Quantized<'_, D> {
    /// Multiplies rows of bytes, which `steps` made.
    fn multiply(
        &self,
        factor: &Factor,
        (rows, n_rows, steps): (ByteRows, usize, Steps),
        place: Place,
        pool: &dyn Parallel,
        own: *mut u8,
    ) {
        let Place { direction, columns, bias, y } = place;
        let width = self.extents.width();
        let of = direction * width..(direction + 1) * width;
        // SAFETY: A direction is one task, which alone uses its part; and so for the scales.
        let (starts, scales) = unsafe { (self.starts.part(of.clone()), self.scales.part(of.clone())) };
        multiply_ints(starts, &factor.corrections[of.clone()], steps.zero as i32);
        multiply_floats(scales, &factor.scales[of.clone()], steps.step);
        let scale = EpilogueOp::MulColumn(scales.as_ptr());
        let with_bias = [scale, EpilogueOp::AddColumn(bias.unwrap_or_default().as_ptr())];
        let epilogue = if bias.is_some() { &with_bias[..] } else { &with_bias[..1] };
        let call = Call {
            operands: &[],
            attrs: &[],
            epilogue,
            callback: None,
            scratch: own,
            pool,
            pieces: false,
            host: Host::none(),
        };
        let matrix = factor.packed.wrapping_add(direction * factor.k.packed_bytes(width));
        let zeros = factor.zeros.map_or(std::ptr::null(), |zeros| zeros[of.start + columns.start..].as_ptr());
        let contraction = Contraction {
            call: &call,
            rows,
            n_rows,
            k: factor.k,
            read: factor.k.len,
            b: matrix.wrapping_add(factor.k.panel_bytes_of(columns.start)),
            corrections: Corrections { start: starts[columns.start..].as_ptr(), zeros },
            columns,
            y: y.as_mut_ptr().cast(),
            stored: Stored::Float,
            scratch: own,
            copy_len: 0,
        };
        // SAFETY: The machine has `D`; the buffers have these extents; `own` is for the threads of `pool`.
        unsafe { contraction.run::<D>() };
    }
}

vectorized! {
    /// `to = list * factor`, wrapping.
    fn multiply_ints(to: &mut [i32], list: &[i32], factor: i32) {
        to.iter_mut().zip(list).for_each(|(to, &x)| *to = x.wrapping_mul(factor));
    }
}

vectorized! {
    /// `to = list * factor`.
    fn multiply_floats(to: &mut [f32], list: &[f32], factor: f32) {
        to.iter_mut().zip(list).for_each(|(to, &x)| *to = x * factor);
    }
}

/// Dense rows of `k` bytes.
struct ByteRows<'a> {
    a: &'a [u8],
    k: usize,
    y_stride: usize,
}

impl Rows<u8> for ByteRows<'_> {
    unsafe fn locate(&self, first: usize, pointers: *mut *const u8, offsets: &mut [isize], _: *mut u8) {
        for (i, offset) in offsets.iter_mut().enumerate() {
            *offset = ((first + i) * self.y_stride) as isize;
            // SAFETY: There is room for a pointer per row; the row exists.
            unsafe { *pointers.add(i) = self.a.as_ptr().add((first + i) * self.k) };
        }
    }
}
