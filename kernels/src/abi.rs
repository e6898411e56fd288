//! The contract between the runtime, generated code and kernels.
//!
//! A *library kernel* is called by the runtime with operands whose shapes are bound. A *strip* is a math function over
//! a contiguous array, called by generated code through [`Table`]. *Generated code* is called by the runtime, or by a
//! contraction kernel as the last step of its epilogue, with a [`Tile`] of its outer iteration space.

use crate::host::Host;
use ic_types::DType;
use std::ops::Range;

/// One tensor operand of a library kernel. An absent optional operand has a null `data`.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// First element. Inputs are only read.
    pub data: *mut u8,
    /// Element type; sub-byte types hold one element per byte.
    pub dtype: DType,
    /// Extent of each axis.
    pub shape: &'a [i64],
    /// Distance between neighbours on each axis, in elements. Row-major dense unless the kernel says it takes strides.
    pub strides: &'a [i64],
}

impl Operand<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<i64>() as usize
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an optional operand was given.
    pub fn is_present(&self) -> bool {
        !self.data.is_null()
    }
}

/// Everything a library kernel gets.
pub struct Call<'a> {
    /// Operands in the order of [`Kernel::operands`].
    pub operands: &'a [Operand<'a>],
    /// Attributes in the order of [`Kernel::attrs`]; an f32 attribute is its bit pattern. Lists come last, in full.
    pub attrs: &'a [i64],
    /// What a contraction does to its result before it leaves the registers or the cache. Empty for other kernels.
    pub epilogue: &'a [EpilogueOp],
    /// Generated code that finishes the result in place, after `epilogue`. Contractions only.
    pub callback: Option<Callback<'a>>,
    /// Scratch memory, 64-byte aligned, of at least [`Kernel::scratch_with_callback`] bytes for these shapes.
    pub scratch: *mut u8,
    /// The threads to use.
    pub pool: &'a dyn Parallel,
    /// Whether f32 products may be summed from pieces on a matrix unit, as [`Isa::Amx`](crate::isa::Isa::Amx) says; the
    /// machine has it then.
    pub pieces: bool,
    /// What the calls of the run share.
    pub host: &'a Host,
}

/// What a contraction does to each element of its result `c[row, column]`, in order. `column` is the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EpilogueOp {
    /// `c + v[column]`.
    AddColumn(*const f32),
    /// `c * v[column]`.
    MulColumn(*const f32),
    /// `c + t[row, column]`, where `t` is laid out as the result is.
    AddTensor(*const f32),
    /// `c * t[row, column]`, where `t` is laid out as the result is.
    MulTensor(*const f32),
    /// `min(max(c, low), high)`.
    Clamp(f32, f32),
    /// `strip(c)`.
    Strip(Strip),
    /// `c * v[0]`.
    MulScalar(*const f32),
    /// `c * factor`.
    Scale(f32),
    /// `c + term`.
    Offset(f32),
    /// `c + (t[row, column] - zero) * scale`, where `t` holds 8-bit integers and is laid out as the result is.
    AddQuantized {
        /// The tensor.
        tensor: *const u8,
        /// Whether its bytes are signed.
        signed: bool,
        /// What an integer step is worth.
        scale: f32,
        /// The integer that stands for 0.
        zero: f32,
    },
    /// `round(c / scale) + zero`, rounded half to even and limited to `low..=high`. Integers as f32; NaN gives `low`.
    Quantize {
        /// What an integer step is worth: positive.
        scale: f32,
        /// The integer that stands for 0.
        zero: f32,
        /// The least integer.
        low: f32,
        /// The greatest integer.
        high: f32,
    },
}

/// Generated code that finishes a contraction's result, one tile at a time. The tile's axes are (row, column) of the
/// result seen as a matrix: all axes but the last flattened, and the last. Code for whole rows gets (row, 0).
#[derive(Clone, Copy)]
pub struct Callback<'a> {
    /// The code.
    pub function: GeneratedFn,
    /// Its buffers.
    pub buffers: &'a [*mut u8],
    /// Its dim slots.
    pub dims: &'a [i64],
    /// The strips it may call.
    pub table: &'a Table,
    /// Bytes of scratch that each call needs.
    pub scratch_bytes: usize,
    /// Whether it is for whole rows, which it gets once all their columns are there: a normalization.
    pub whole_rows: bool,
}

impl Callback<'_> {
    /// Bytes of scratch of one thread, rounded up to the alignment.
    pub fn scratch_stride(&self) -> usize {
        self.scratch_bytes.next_multiple_of(64)
    }
}

/// Signature of generated code.
///
/// `buffers` holds one pointer per kernel parameter, `dims` the plan's evaluated dim slots.
pub type GeneratedFn =
    unsafe extern "C" fn(buffers: *const *mut u8, dims: *const i64, table: *const Table, tile: *const Tile);

/// The part of a generated kernel's outer iteration space that one call covers.
///
/// The outer space is two-dimensional: `begin[i]..end[i]` on axis `i`. A kernel with one outer axis leaves the second
/// at `0..1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// First index on each outer axis.
    pub begin: [i64; 2],
    /// Past the last index on each outer axis.
    pub end: [i64; 2],
    /// Scratch of this call, 64-byte aligned.
    pub scratch: *mut u8,
}

/// A full-width math function: `dst[i] = f(src[i])` for `i < n`. `dst` may equal `src`.
pub type StripFn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: usize);

macro_rules! strips {
    ($($(#[$doc:meta])* $variant:ident = $index:literal, $name:literal;)*) => {
        /// The math functions that generated code and epilogues call. The index is part of the artifact format.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Strip {
            $($(#[$doc])* $variant = $index,)*
        }

        impl Strip {
            /// Every strip, by index.
            pub const ALL: &[Strip] = &[$(Strip::$variant,)*];

            /// The name in plans.
            pub fn name(self) -> &'static str {
                match self { $(Strip::$variant => $name,)* }
            }
        }
    };
}

strips! {
    /// `e^x`.
    Exp = 0, "exp";
    /// Natural logarithm.
    Log = 1, "log";
    /// Error function.
    Erf = 2, "erf";
    /// Hyperbolic tangent.
    Tanh = 3, "tanh";
    /// `1 / (1 + e^-x)`.
    Sigmoid = 4, "sigmoid";
    /// `x * sigmoid(x)`.
    Silu = 5, "silu";
    /// `x * 0.5 * (1 + erf(x / sqrt 2))`.
    Gelu = 6, "gelu";
    /// `x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh = 7, "gelu_tanh";
    /// `x * clamp(x / 6 + 0.5, 0, 1)`.
    HardSwish = 8, "hard_swish";
    /// `max(x, 0)`; NaN gives NaN.
    Relu = 9, "relu";
    /// Sine.
    Sin = 10, "sin";
    /// Cosine.
    Cos = 11, "cos";
    /// Square root.
    Sqrt = 12, "sqrt";
    /// `log(1 + e^x)`.
    Softplus = 13, "softplus";
    /// Other elementary functions, one lane at a time over portable math.
    Tan = 14, "tan";
    /// Arc sine.
    Asin = 15, "asin";
    /// Arc cosine.
    Acos = 16, "acos";
    /// Arc tangent.
    Atan = 17, "atan";
    /// Hyperbolic sine.
    Sinh = 18, "sinh";
    /// Hyperbolic cosine.
    Cosh = 19, "cosh";
    /// Inverse hyperbolic sine.
    Asinh = 20, "asinh";
    /// Inverse hyperbolic cosine.
    Acosh = 21, "acosh";
    /// Inverse hyperbolic tangent.
    Atanh = 22, "atanh";
}

/// A math function of two arrays: `dst[i] = f(a[i], b[i])` for `i < n`. `dst` may equal either.
pub type Strip2Fn = unsafe extern "C" fn(dst: *mut f32, a: *const f32, b: *const f32, n: usize);

/// `dst[i] = round(src[i] / scale) + zero` for `i < n`, within `low` and `high`; 0 for NaN. `zero` and the limits are
/// integers of one 8-bit type, whose bytes are stored.
pub type QuantizeFn =
    unsafe extern "C" fn(dst: *mut u8, src: *const f32, n: usize, scale: f32, zero: f32, low: f32, high: f32);

/// The smallest or the greatest of `n` elements; NaN if one is.
pub type ExtremeFn = unsafe extern "C" fn(src: *const f32, n: usize) -> f32;

/// What generated code calls: function pointers at fixed offsets.
#[repr(C)]
pub struct Table {
    /// Indexed by [`Strip`].
    pub strips: [StripFn; Strip::ALL.len()],
    /// `a^b`.
    pub pow: Strip2Fn,
    /// The strips' functions of one f64, indexed by [`Strip`].
    pub f64_functions: [F64Fn; Strip::ALL.len()],
    /// `a^b`.
    pub f64_pow: extern "C" fn(f64, f64) -> f64,
    /// C's `fmod`.
    pub f64_fmod: extern "C" fn(f64, f64) -> f64,
    /// C's `fmodf`.
    pub f32_fmod: extern "C" fn(f32, f32) -> f32,
    /// Floats to bytes.
    pub quantize: QuantizeFn,
    /// The smallest element; infinity of none.
    pub smallest: ExtremeFn,
    /// The greatest element; minus infinity of none.
    pub greatest: ExtremeFn,
}

/// A math function of one f64.
pub type F64Fn = extern "C" fn(f64) -> f64;

/// One library kernel.
pub struct Kernel {
    /// `{dtype}_{op}` or `{op}` where it takes every dtype.
    pub name: &'static str,
    /// Identifies the layout of packed operands; 0 where there are none.
    pub layout: u32,
    /// Grows when results or conventions change; plans name it.
    pub revision: u32,
    /// Operand names, inputs first, then outputs.
    pub operands: &'static [&'static str],
    /// Attribute names; a name ending in `[]` is a list that takes the rest.
    pub attrs: &'static [&'static str],
    /// Bytes of scratch for operands of these shapes, attributes and number of threads.
    pub scratch: fn(&[Operand], &[i64], usize) -> usize,
    /// Runs the kernel.
    pub run: unsafe fn(&Call) -> Result<(), KernelError>,
}

impl Kernel {
    /// Bytes of scratch of a call: [`scratch`](Kernel::scratch), after 64-byte aligned room for the callback on each
    /// thread.
    pub fn scratch_with_callback(
        &self,
        operands: &[Operand],
        attrs: &[i64],
        threads: usize,
        callback: Option<&Callback>,
    ) -> usize {
        callback.map_or(0, |callback| callback.scratch_stride() * threads) + (self.scratch)(operands, attrs, threads)
    }
}

/// Why a kernel refused its inputs at run time: an index out of range, say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError(pub String);

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KernelError {}

/// Threads that share work by static partition.
pub trait Parallel: Sync {
    /// Number of threads, the caller included; at least 1.
    fn threads(&self) -> usize;

    /// Splits `0..tasks` into at most [`threads`](Self::threads) contiguous ranges and calls `body(range, thread)` on
    /// each, with distinct `thread < threads()`. Returns when all are done. Ranges are never empty.
    fn run(&self, tasks: usize, body: &(dyn Fn(Range<usize>, usize) + Sync));
}

/// The calling thread alone.
pub struct Serial;

impl Parallel for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, body: &(dyn Fn(Range<usize>, usize) + Sync)) {
        if tasks > 0 {
            body(0..tasks, 0);
        }
    }
}
