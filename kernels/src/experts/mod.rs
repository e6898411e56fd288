//! f32 products of rows with the matrices that they choose, and mixtures of experts. Matrices that no row chooses are not
//! read; those that several choose are read once.
//!
//! - `f32_expert_matmul`, layouts 1 and 2: `y[R, N] = x[r, K] x w[index[r], K, N]`. `index` is i64 or i32.
//! - `f32_experts`, layouts 1 and 2: `y[t, N] = sum over c of weight[t, c] * (h x w_out[e, F, N])` with `e = index[t, c]`
//!   and `h = strip(x[t, c, K] x w_in[e, K, F])`. If `gated`, `w_in` has `2 F` columns, and the strip of the first half of
//!   the product is multiplied by the second.
//!
//! Every matrix of `w` is packed by [`pack_matmul_b`](crate::pack::pack_matmul_b): of f32 in layout 1, of f16 or bf16,
//! widened as panels are read, in layout 2. `x` takes any strides; all else is dense.
//!
//! Products are those of [`gemm`](crate::gemm), sums over choices are taken in their order: every instruction set and number
//! of threads gives the same bits.

mod route;

use crate::abi::{Call, Kernel, KernelError, Operand, Parallel, Serial, Strip, StripFn};
use crate::epilogue::own_scratch;
use crate::gemm::{
    Contraction, Following, Panels, Rows, SERIAL, Tiles, contiguous, copy_len, k_axis, scratch_bytes, widened_bytes,
};
use crate::isa::Isa;
use crate::pack::matmul_b_len;
use crate::strips;
use crate::vector::for_isa;
use route::Routes;
use std::ops::Range;

/// The kernels of this module for `isa`.
pub(crate) fn kernels(isa: Isa) -> &'static [Kernel] {
    for_isa!(isa, V => const { &kernels_of::<V>() })
}

const fn kernels_of<V: Tiles>() -> [Kernel; 4] {
    [expert_matmul_of::<V>(1), expert_matmul_of::<V>(2), experts_of::<V>(1), experts_of::<V>(2)]
}

const fn expert_matmul_of<V: Tiles>(layout: u32) -> Kernel {
    Kernel {
        name: "f32_expert_matmul",
        layout,
        revision: 1,
        operands: &["x", "w", "index", "y"],
        attrs: &[],
        scratch: |operands, _, threads| match operands {
            [x, w, index, _] => {
                Routes::bytes(extent(w, 0), index.len()) + product_scratch::<V>(w, copy_len::<V>(x), threads)
            }
            _ => 0,
        },
        run: expert_matmul::<V>,
    }
}

const fn experts_of<V: Tiles>(layout: u32) -> Kernel {
    Kernel {
        name: "f32_experts",
        layout,
        revision: 1,
        operands: &["x", "index", "weight", "w_in", "w_out", "y"],
        attrs: &["strip", "gated"],
        scratch: |operands, _, threads| match operands {
            [x, index, _, w_in, w_out, _] => {
                let rows = index.len();
                let first = product_scratch::<V>(w_in, copy_len::<V>(x), threads);
                let products = first.max(product_scratch::<V>(w_out, 0, threads));
                let floats = [extent(w_in, 2), extent(w_out, 2)].map(|width| floats(rows, width)).iter().sum::<usize>();
                Routes::bytes(extent(w_in, 0), rows) + floats + products
            }
            _ => 0,
        },
        run: experts::<V>,
    }
}

fn extent(operand: &Operand, axis: usize) -> usize {
    operand.shape.get(axis).map_or(0, |&extent| extent as usize)
}

/// Bytes of scratch for `rows` rows of `width` floats.
fn floats(rows: usize, width: usize) -> usize {
    (rows * width * size_of::<f32>()).next_multiple_of(64)
}

/// Bytes of scratch of products with matrices of `w [E, K, N]`, of rows of which tiles copy `copied` elements.
fn product_scratch<V: Tiles>(w: &Operand, copied: usize, threads: usize) -> usize {
    scratch_bytes(1, copied, threads) + widened_bytes::<V>(w, 1, extent(w, 1), extent(w, 2)) * threads
}

/// Where the rows of one expert are, and where their products go.
#[derive(Clone, Copy)]
struct Chosen {
    x: *const f32,
    /// Distance between neighbours on the two axes of rows, and how many rows the inner one has.
    x_strides: [isize; 2],
    inner: usize,
    /// Elements of a row, and the distance between neighbours.
    k: usize,
    k_stride: isize,
    y_stride: usize,
    /// Elements that a tile's rows are copied to.
    copied: usize,
    /// Where each row is in an operand of all rows; `None` where rows lie in the order of the experts.
    from: Option<Routes>,
    to: Option<Routes>,
    /// The first of the expert's places in the order.
    first: usize,
}

// SAFETY: rows are only read.
unsafe impl Sync for Chosen {}

impl Rows for Chosen {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], copies: *mut f32) {
        for (i, offset) in offsets.iter_mut().enumerate() {
            let place = self.first + first + i;
            let (from, to) = [self.from, self.to].map(|routes| routes.map_or(place, |routes| routes.row(place))).into();
            let at =
                (from / self.inner) as isize * self.x_strides[0] + (from % self.inner) as isize * self.x_strides[1];
            *offset = (to * self.y_stride) as isize;
            let copy = copies.wrapping_add(i * self.k);
            // SAFETY: the row exists; the caller gives room for as many pointers, and copies, as offsets.
            unsafe { *pointers.add(i) = contiguous(self.x.wrapping_offset(at), self.k, self.k_stride, copy) };
        }
    }
}

/// Multiplies the rows of every expert with its matrix of `w [E, K, N]`.
///
/// # Safety
/// The machine has `V`; the operands are valid, and `scratch` has [`product_scratch`] bytes.
unsafe fn multiply<V: Tiles>(call: &Call, routes: Routes, rows: Chosen, w: &Operand, y: *mut f32, scratch: *mut u8) {
    let (k, n) = (extent(w, 1), extent(w, 2));
    let bare = Call {
        operands: call.operands,
        attrs: call.attrs,
        epilogue: &[],
        callback: None,
        scratch,
        pool: call.pool,
        pieces: call.pieces,
        host: call.host,
    };
    for (expert, places) in routes.experts() {
        let contraction = Contraction {
            call: &bare,
            rows: Chosen { first: places.start, ..rows },
            n_rows: places.len(),
            first_row: 0,
            segments: 1,
            segment_len: k,
            b: Panels::constant(w, expert * matmul_b_len(k, n), k),
            columns: 0..n,
            width: n,
            y,
            scratch,
            copy_len: rows.copied,
            widened_bytes: widened_bytes::<V>(w, 1, k, n),
            following: Following::Unknown,
        };
        // SAFETY: the caller vouches for the operands and the scratch.
        unsafe { contraction.run::<V>() };
    }
}

/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
unsafe fn expert_matmul<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let [x, w, index, y] = call.operands else { return Err(wrong_operands("expert_matmul", 4, call)) };
    if y.is_empty() {
        return Ok(());
    }
    let scratch = own_scratch(call);
    // SAFETY: the caller vouches for operands and scratch.
    let routes = unsafe { Routes::new(index, extent(w, 0), scratch) }?;
    let rows = Chosen {
        x: x.data.cast(),
        x_strides: [x.strides[0] as isize, 0],
        inner: 1,
        k: extent(w, 1),
        k_stride: k_axis(x).1,
        y_stride: extent(w, 2),
        copied: copy_len::<V>(x),
        from: Some(routes),
        to: Some(routes),
        first: 0,
    };
    let rest = scratch.wrapping_add(Routes::bytes(extent(w, 0), index.len()));
    // SAFETY: the caller vouches for operands and scratch.
    unsafe { multiply::<V>(call, routes, rows, w, y.data.cast(), rest) };
    Ok(())
}

fn wrong_operands(kernel: &str, expected: usize, call: &Call) -> KernelError {
    KernelError(format!("{kernel}: expected {expected} operands, found {}", call.operands.len()))
}

/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
unsafe fn experts<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let ([x, index, weight, w_in, w_out, y], &[strip, gated]) = (call.operands, call.attrs) else {
        return Err(wrong_operands("experts", 6, call));
    };
    if y.is_empty() {
        return Ok(());
    }
    let strip = usize::try_from(strip).ok().filter(|&strip| strip < Strip::ALL.len());
    let strip = strip.ok_or_else(|| KernelError("experts: no such activation".into()))?;
    let scratch = own_scratch(call);
    let (rows, wide, f, n) = (index.len(), extent(w_in, 2), extent(w_out, 1), extent(w_out, 2));
    // SAFETY: the caller vouches for operands and scratch.
    let routes = unsafe { Routes::new(index, extent(w_in, 0), scratch) }?;
    let inner = scratch.wrapping_add(Routes::bytes(extent(w_in, 0), rows)).cast::<f32>();
    let products = inner.cast::<u8>().wrapping_add(floats(rows, wide)).cast::<f32>();
    let rest = products.cast::<u8>().wrapping_add(floats(rows, n));
    let chosen = Chosen {
        x: x.data.cast(),
        x_strides: [x.strides[0] as isize, x.strides[1] as isize],
        inner: extent(x, 1).max(1),
        k: extent(w_in, 1),
        k_stride: k_axis(x).1,
        y_stride: wide,
        copied: copy_len::<V>(x),
        from: Some(routes),
        to: None,
        first: 0,
    };
    let hidden = Chosen {
        x: inner,
        x_strides: [wide as isize, 0],
        inner: 1,
        k: f,
        k_stride: 1,
        y_stride: n,
        copied: 0,
        from: None,
        to: Some(routes),
        first: 0,
    };
    let activation =
        Activation { rows: inner, wide, f, gated: gated != 0, strip: strips::table_of::<V>().strips[strip] };
    let sums = Sums { products, weight: weight.data.cast(), y: y.data.cast(), choices: extent(index, 1), n };
    // SAFETY: the caller vouches for operands and scratch; each step reads what the one before has written.
    unsafe {
        multiply::<V>(call, routes, chosen, w_in, inner, rest);
        in_parallel(call, rows, wide, &|row| activation.apply(row));
        multiply::<V>(call, routes, hidden, w_out, products, rest);
        in_parallel(call, extent(index, 0), sums.choices * n, &|token| sums.add(token));
    }
    Ok(())
}

/// Runs `body` for each of `rows` rows of `width` numbers.
fn in_parallel(call: &Call, rows: usize, width: usize, body: &(dyn Fn(usize) + Sync)) {
    let parallel: &dyn Parallel = if rows * width < SERIAL { &Serial } else { call.pool };
    parallel.run(rows, &|range: Range<usize>, _| range.for_each(body));
}

/// What happens to the first products.
struct Activation {
    rows: *mut f32,
    /// Numbers of a row.
    wide: usize,
    /// Those that are left.
    f: usize,
    gated: bool,
    strip: StripFn,
}

// SAFETY: threads have rows of their own.
unsafe impl Sync for Activation {}

impl Activation {
    /// Finishes a row in place.
    fn apply(&self, row: usize) {
        let row = self.rows.wrapping_add(row * self.wide);
        // SAFETY: rows lie in scratch, and no other thread has this one; both halves of a gated row exist.
        unsafe {
            (self.strip)(row, row, self.f);
            if self.gated {
                let (first, second) = std::slice::from_raw_parts_mut(row, self.wide).split_at_mut(self.f);
                first.iter_mut().zip(second).for_each(|(x, gate)| *x *= *gate);
            }
        }
    }
}

/// The weighted sums over choices.
struct Sums {
    products: *const f32,
    weight: *const f32,
    y: *mut f32,
    choices: usize,
    n: usize,
}

// SAFETY: threads write rows of their own, and only read the rest.
unsafe impl Sync for Sums {}

impl Sums {
    /// Computes a row of the result.
    fn add(&self, token: usize) {
        // SAFETY: the result has a row for each token, and the operands `choices` for each; no other thread has this row.
        let (y, products, weights) = unsafe {
            (
                std::slice::from_raw_parts_mut(self.y.add(token * self.n), self.n),
                std::slice::from_raw_parts(self.products.add(token * self.choices * self.n), self.choices * self.n),
                std::slice::from_raw_parts(self.weight.add(token * self.choices), self.choices),
            )
        };
        y.fill(0.0);
        for (product, weight) in products.chunks(self.n).zip(weights) {
            y.iter_mut().zip(product).for_each(|(sum, x)| *sum += weight * x);
        }
    }
}
