//! Tensors, random values, threads and calls for the kernel tests.

use crate::abi::{Call, Callback, EpilogueOp, Kernel, KernelError, Operand, Parallel};
use crate::host::Host;
use ic_types::DType;
use std::ops::Range;

/// A small generator of reproducible values.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 24) as u32
    }

    /// Uniform in -1..1.
    pub(crate) fn value(&mut self) -> f32 {
        (self.bits() as i32 as f32) / (1u32 << 31) as f32
    }

    pub(crate) fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// An f32 tensor with strides.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) data: Vec<f32>,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
}

impl Tensor {
    pub(crate) fn dense(shape: &[usize], data: Vec<f32>) -> Tensor {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1);
        }
        Tensor { data, shape, strides }
    }

    pub(crate) fn random(shape: &[usize], random: &mut Random) -> Tensor {
        Tensor::dense(shape, random.values(shape.iter().product()))
    }

    /// The view with axes `i` and `j` exchanged.
    pub(crate) fn swap(mut self, i: usize, j: usize) -> Tensor {
        self.shape.swap(i, j);
        self.strides.swap(i, j);
        self
    }

    /// All NaN, so that what a kernel leaves unwritten shows.
    pub(crate) fn unset(shape: &[usize]) -> Tensor {
        Tensor::dense(shape, vec![f32::NAN; shape.iter().product()])
    }

    /// An optional operand that is not given.
    pub(crate) fn absent() -> Tensor {
        Tensor::dense(&[], Vec::new())
    }

    /// The operand; an absent one if there are no data although the shape, that of a scalar, has an element.
    pub(crate) fn operand(&mut self) -> Operand<'_> {
        let absent = self.shape.is_empty() && self.data.is_empty();
        let data = if absent { std::ptr::null_mut() } else { self.data.as_mut_ptr().cast() };
        Operand { data, dtype: DType::F32, shape: &self.shape, strides: &self.strides }
    }
}

/// Threads started for each call, to test partitions.
pub(crate) struct Threads(pub(crate) usize);

impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, body: &(dyn Fn(Range<usize>, usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                let range = tasks * thread / self.0..tasks * (thread + 1) / self.0;
                if !range.is_empty() {
                    scope.spawn(move || body(range, thread));
                }
            }
        });
    }
}

/// Runs `kernel` with scratch of the size it asks for, guarded at the end.
pub(crate) fn run(
    kernel: &Kernel,
    operands: &mut [Tensor],
    attrs: &[i64],
    epilogue: &[EpilogueOp],
    callback: Option<Callback>,
    pool: &dyn Parallel,
) -> Result<(), KernelError> {
    run_with(kernel, operands, attrs, (epilogue, callback), pool, false)
}

/// [`run`]; with `pieces`, products may be summed from pieces.
pub(crate) fn run_with(
    kernel: &Kernel,
    operands: &mut [Tensor],
    attrs: &[i64],
    (epilogue, callback): (&[EpilogueOp], Option<Callback>),
    pool: &dyn Parallel,
    pieces: bool,
) -> Result<(), KernelError> {
    let operands: Vec<Operand> = operands.iter_mut().map(Tensor::operand).collect();
    let bytes = kernel.scratch_with_callback(&operands, attrs, pool.threads(), callback.as_ref());
    let mut scratch = vec![0x7fu8; bytes + 64 + 64];
    let start = scratch.as_ptr().align_offset(64);
    let call = Call {
        operands: &operands,
        attrs,
        epilogue,
        callback,
        scratch: scratch[start..].as_mut_ptr(),
        pool,
        pieces,
        host: Host::none(),
    };
    // SAFETY: the operands are valid and the scratch has the size that the kernel asked for.
    let result = unsafe { (kernel.run)(&call) };
    assert!(scratch[start + bytes..].iter().all(|&byte| byte == 0x7f), "{} wrote past its scratch", kernel.name);
    result
}

/// A kind of 16-bit floats.
pub(crate) struct Halves {
    pub(crate) dtype: DType,
    narrow: fn(f32) -> u16,
    widen: fn(u16) -> f32,
}

/// Both kinds.
pub(crate) const HALVES: [Halves; 2] = [
    Halves { dtype: DType::F16, narrow: ic_types::f32_to_f16, widen: ic_types::f16_to_f32 },
    Halves { dtype: DType::BF16, narrow: ic_types::f32_to_bf16, widen: ic_types::bf16_to_f32 },
];

impl Halves {
    /// The tensor rounded to this kind, and the bits of its elements.
    pub(crate) fn round(&self, tensor: Tensor) -> (Tensor, Vec<u16>) {
        let bits: Vec<u16> = tensor.data.iter().map(|&x| (self.narrow)(x)).collect();
        (Tensor { data: bits.iter().map(|&bits| (self.widen)(bits)).collect(), ..tensor }, bits)
    }
}

/// Runs a kernel whose second operand holds 16-bit floats, and returns its third.
pub(crate) fn run_halves(
    kernel: &Kernel,
    operands: &[Tensor; 3],
    (dtype, halves): (DType, &[u16]),
    attrs: &[i64],
    pool: &dyn Parallel,
) -> Vec<f32> {
    run_stored(kernel, operands, (dtype, halves.as_ptr().cast()), attrs, pool)
}

/// Runs a kernel whose second operand is stored as elements of `dtype` at `stored`, and returns its last.
pub(crate) fn run_stored(
    kernel: &Kernel,
    operands: &[Tensor],
    (dtype, stored): (DType, *const u8),
    attrs: &[i64],
    pool: &dyn Parallel,
) -> Vec<f32> {
    let mut tensors = operands.to_vec();
    let mut operands: Vec<Operand> = tensors.iter_mut().map(Tensor::operand).collect();
    operands[1] = Operand { data: stored.cast_mut(), dtype, ..operands[1] };
    let bytes = (kernel.scratch)(&operands, attrs, pool.threads());
    let mut scratch = vec![0x7fu8; bytes + 64 + 64];
    let start = scratch.as_ptr().align_offset(64);
    let data = scratch[start..].as_mut_ptr();
    let call = Call {
        operands: &operands,
        attrs,
        epilogue: &[],
        callback: None,
        scratch: data,
        pool,
        pieces: false,
        host: Host::none(),
    };
    // SAFETY: the operands are valid and the scratch has the size that the kernel asked for.
    unsafe { (kernel.run)(&call) }.expect("the kernel runs");
    assert!(scratch[start + bytes..].iter().all(|&byte| byte == 0x7f), "{} wrote past its scratch", kernel.name);
    tensors.pop().expect("a kernel has a result").data
}

/// Fails where `actual` and `expected` differ in any bit, NaN payloads aside.
#[track_caller]
pub(crate) fn assert_same_bits(actual: &[f32], expected: &[f32], what: &dyn std::fmt::Display) {
    assert_eq!(actual.len(), expected.len());
    for (i, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{what}: element {i} is {a:e}, not {b:e}");
    }
}
