//! Running kernels in tests: buffers with guards, a pool of real threads, and reproducible random numbers.

use super::element::Element;
use crate::abi::{Call, Kernel, KernelError, Operand, Parallel, Serial};
use crate::host::Host;
use ic_types::DType;
use std::ops::Range;

/// 64-byte blocks keep every element type aligned.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([u8; 64]);

const GUARD: u8 = 0xa5;

/// A tensor between guard blocks.
pub(crate) struct Buffer {
    dtype: DType,
    shape: Vec<i64>,
    strides: Vec<i64>,
    /// Where element (0, …) is, in elements.
    first: usize,
    blocks: Option<Vec<Block>>,
}

impl Buffer {
    /// A dense tensor of these elements.
    pub(crate) fn new<T: Element>(dtype: DType, shape: &[usize], values: &[T]) -> Buffer {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "elements of shape {shape:?}");
        let strides = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product::<usize>() as i64).collect();
        Buffer::strided(dtype, shape, strides, 0, values)
    }

    /// Elements read by strides from `first` on.
    pub(crate) fn strided<T: Element>(
        dtype: DType,
        shape: &[usize],
        strides: Vec<i64>,
        first: usize,
        values: &[T],
    ) -> Buffer {
        assert!(T::accepts(dtype));
        let bytes = size_of_val(values);
        let mut blocks = vec![Block([GUARD; 64]); bytes.div_ceil(64) + 2];
        // SAFETY: The blocks after the first have room for `bytes`.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr().cast(), blocks.as_mut_ptr().add(1).cast::<u8>(), bytes);
        }
        Buffer { dtype, shape: shape.iter().map(|&d| d as i64).collect(), strides, first, blocks: Some(blocks) }
    }

    /// An f32 tensor.
    pub(crate) fn f32(shape: &[usize], values: &[f32]) -> Buffer {
        Buffer::new(DType::F32, shape, values)
    }

    /// An i64 tensor.
    pub(crate) fn i64(shape: &[usize], values: &[i64]) -> Buffer {
        Buffer::new(DType::I64, shape, values)
    }

    /// An output.
    pub(crate) fn out<T: Element>(dtype: DType, shape: &[usize]) -> Buffer {
        Buffer::new(dtype, shape, &vec![T::default(); shape.iter().product()])
    }

    /// An absent operand.
    pub(crate) fn absent() -> Buffer {
        Buffer { dtype: DType::F32, shape: vec![], strides: vec![], first: 0, blocks: None }
    }

    fn data(&self) -> *mut u8 {
        let Some(blocks) = &self.blocks else { return std::ptr::null_mut() };
        // SAFETY: There are at least two blocks, and `first` is an element.
        unsafe { blocks.as_ptr().add(1).cast::<u8>().add(self.first * self.dtype.size().unwrap()).cast_mut() }
    }

    fn operand(&self) -> Operand<'_> {
        Operand { data: self.data(), dtype: self.dtype, shape: &self.shape, strides: &self.strides }
    }

    /// The elements of a dense tensor.
    pub(crate) fn values<T: Element>(&self) -> Vec<T> {
        let len = self.shape.iter().product::<i64>() as usize;
        // SAFETY: The buffer was made for `len` elements of this width.
        unsafe { std::slice::from_raw_parts(self.data().cast::<T>(), len).to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|block| block.0).collect()
    }

    fn check_guards(&self) {
        let Some(blocks) = &self.blocks else { return };
        let used = self.shape.iter().product::<i64>() as usize * self.dtype.size().unwrap();
        let bytes = self.bytes();
        let guards = bytes[..64].iter().chain(&bytes[64 + used..blocks.len() * 64]);
        assert!(guards.copied().all(|byte| byte == GUARD), "the kernel wrote outside of its output");
    }
}

/// Threads started for each call.
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

/// Runs a kernel on the host of a run.
pub(crate) fn call(
    kernel: &Kernel,
    inputs: &[Buffer],
    attrs: &[i64],
    outputs: &[Buffer],
    pool: &dyn Parallel,
    host: &Host,
) -> Result<(), KernelError> {
    let operands: Vec<Operand> = inputs.iter().chain(outputs).map(Buffer::operand).collect();
    let bytes = (kernel.scratch)(&operands, attrs, pool.threads());
    let mut scratch = vec![Block([GUARD; 64]); bytes.div_ceil(64) + 1];
    let call = Call {
        operands: &operands,
        attrs,
        epilogue: &[],
        callback: None,
        scratch: scratch.as_mut_ptr().cast(),
        pool,
        pieces: false,
        host,
    };
    // SAFETY: Buffers hold as many elements as their shapes say, and none overlap.
    let result = unsafe { (kernel.run)(&call) };
    assert!(scratch[bytes.div_ceil(64)].0 == [GUARD; 64], "the kernel wrote outside of its scratch memory");
    outputs.iter().for_each(Buffer::check_guards);
    result
}

/// Runs a kernel on one thread and on three, and checks that both write the same bytes and nothing else.
pub(crate) fn run(
    kernel: &Kernel,
    inputs: &[Buffer],
    attrs: &[i64],
    outputs: Vec<Buffer>,
) -> Result<Vec<Buffer>, KernelError> {
    call(kernel, inputs, attrs, &outputs, &Threads(3), Host::none())?;
    let parallel: Vec<Vec<u8>> = outputs.iter().map(Buffer::bytes).collect();
    call(kernel, inputs, attrs, &outputs, &Serial, Host::none())?;
    for (output, parallel) in outputs.iter().zip(parallel) {
        assert!(output.bytes() == parallel, "{} depends on the number of threads", kernel.name);
    }
    Ok(outputs)
}

/// Runs a kernel with one f32 output.
pub(crate) fn run_f32(kernel: &Kernel, inputs: &[Buffer], attrs: &[i64], shape: &[usize]) -> Vec<f32> {
    run(kernel, inputs, attrs, vec![Buffer::out::<f32>(DType::F32, shape)]).unwrap()[0].values()
}

/// Reproducible pseudo-random numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// 32 random bits.
    pub(crate) fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    /// `len` numbers in -1..1.
    pub(crate) fn f32s(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.bits() as f32 / (1u32 << 30) as f32 - 1.0).collect()
    }

    /// A shape of `rank` small extents, among them 1 and primes.
    pub(crate) fn shape(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| [1, 2, 3, 5, 7, 17, 19][self.below(7)]).collect()
    }
}

/// Whether two arrays agree to `tolerance`, relative to the larger of 1 and the expectation.
pub(crate) fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "element {i}: found {a}, expected {b}");
    }
}
