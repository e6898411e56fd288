//! Math functions as straight-line programs, for targets that run no Rust: the generic bodies, traced.
//!
//! A program computes the same bits as the strip. Functions that look at single lanes have none.

use super::functions;
use crate::abi::Strip;
use crate::vector::{LANES, Task, Vector};
use std::cell::RefCell;

/// Index of an earlier operation of the program.
pub type Traced = u32;

/// An operation on 32 bits. Floats round to nearest even, nothing is flushed to zero; integers wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TraceOp {
    /// The argument, an f32.
    Input,
    /// A constant by its bits.
    Const(u32),
    /// `a + b` of floats.
    Add(Traced, Traced),
    /// `a - b` of floats.
    Sub(Traced, Traced),
    /// `a * b` of floats.
    Mul(Traced, Traced),
    /// `a / b` of floats.
    Div(Traced, Traced),
    /// `a * b + c` of floats, rounded once.
    MulAdd(Traced, Traced, Traced),
    /// Square root.
    Sqrt(Traced),
    /// To the nearest integral float, ties to even.
    Round(Traced),
    /// `a > b ? a : b`.
    Max(Traced, Traced),
    /// `a < b ? a : b`.
    Min(Traced, Traced),
    /// Whether `a < b`.
    Less(Traced, Traced),
    /// Whether `a == b`.
    Equal(Traced, Traced),
    /// `b` where comparison `a` holds, else `c`.
    Select(Traced, Traced, Traced),
    /// Bitwise and.
    And(Traced, Traced),
    /// Bitwise or.
    Or(Traced, Traced),
    /// Bitwise exclusive or.
    Xor(Traced, Traced),
    /// `a + b` of integers.
    AddInt(Traced, Traced),
    /// `a - b` of integers.
    SubInt(Traced, Traced),
    /// `a << n`.
    ShiftLeft(Traced, u32),
    /// `a >> n`, with copies of the sign.
    ShiftRight(Traced, u32),
    /// The integer that an integral float is.
    ToInt(Traced),
    /// The float nearest to an integer.
    IntToFloat(Traced),
}

/// The program of a strip; its last operation is the result. `None` if the strip is no straight line.
pub fn trace(strip: Strip) -> Option<Vec<TraceOp>> {
    let function: fn(Tracer) -> Tracer = match strip {
        Strip::Exp => functions::exp,
        Strip::Log => functions::log,
        Strip::Erf => functions::erf,
        Strip::Tanh => functions::tanh,
        Strip::Sigmoid => functions::sigmoid,
        Strip::Silu => functions::silu,
        Strip::Gelu => functions::gelu,
        Strip::GeluTanh => functions::gelu_tanh,
        Strip::HardSwish => functions::hard_swish,
        Strip::Relu => functions::relu,
        Strip::Softplus => functions::softplus,
        _ => return None,
    };
    PROGRAM.with_borrow_mut(Vec::clear);
    function(push(TraceOp::Input));
    Some(PROGRAM.take())
}

thread_local! {
    /// The program that is being traced.
    static PROGRAM: RefCell<Vec<TraceOp>> = const { RefCell::new(Vec::new()) };
}

/// A value of the program.
#[derive(Clone, Copy)]
struct Tracer(Traced);

/// Equal operations are one.
fn push(op: TraceOp) -> Tracer {
    PROGRAM.with_borrow_mut(|program| {
        let at = program.iter().position(|&known| known == op).unwrap_or_else(|| {
            program.push(op);
            program.len() - 1
        });
        Tracer(at as Traced)
    })
}

/// A lane of a traced value.
fn no_lanes() -> ! {
    unreachable!("a traced function does not look at lanes")
}

impl Vector for Tracer {
    type Mask = Tracer;
    const REGISTERS: usize = 32;

    unsafe fn vectorize<T: Task>(_: T) -> T::Output {
        no_lanes()
    }

    fn splat(x: f32) -> Self {
        push(TraceOp::Const(x.to_bits()))
    }

    unsafe fn load(_: *const f32) -> Self {
        no_lanes()
    }

    unsafe fn load_partial(_: *const f32, _: usize) -> Self {
        no_lanes()
    }

    unsafe fn load_u16(_: *const u16) -> Self {
        no_lanes()
    }

    unsafe fn store(self, _: *mut f32) {
        no_lanes()
    }

    unsafe fn store_partial(self, _: *mut f32, _: usize) {
        no_lanes()
    }

    fn add(self, other: Self) -> Self {
        push(TraceOp::Add(self.0, other.0))
    }

    fn sub(self, other: Self) -> Self {
        push(TraceOp::Sub(self.0, other.0))
    }

    fn mul(self, other: Self) -> Self {
        push(TraceOp::Mul(self.0, other.0))
    }

    fn div(self, other: Self) -> Self {
        push(TraceOp::Div(self.0, other.0))
    }

    fn mul_add(self, factor: Self, addend: Self) -> Self {
        push(TraceOp::MulAdd(self.0, factor.0, addend.0))
    }

    fn sqrt(self) -> Self {
        push(TraceOp::Sqrt(self.0))
    }

    fn round(self) -> Self {
        push(TraceOp::Round(self.0))
    }

    fn max(self, other: Self) -> Self {
        push(TraceOp::Max(self.0, other.0))
    }

    fn min(self, other: Self) -> Self {
        push(TraceOp::Min(self.0, other.0))
    }

    fn less(self, other: Self) -> Tracer {
        push(TraceOp::Less(self.0, other.0))
    }

    fn equal(self, other: Self) -> Tracer {
        push(TraceOp::Equal(self.0, other.0))
    }

    fn select(mask: Tracer, yes: Self, no: Self) -> Self {
        push(TraceOp::Select(mask.0, yes.0, no.0))
    }

    fn any(_: Tracer) -> bool {
        no_lanes()
    }

    fn and(self, other: Self) -> Self {
        push(TraceOp::And(self.0, other.0))
    }

    fn or(self, other: Self) -> Self {
        push(TraceOp::Or(self.0, other.0))
    }

    fn xor(self, other: Self) -> Self {
        push(TraceOp::Xor(self.0, other.0))
    }

    fn add_int(self, other: Self) -> Self {
        push(TraceOp::AddInt(self.0, other.0))
    }

    fn sub_int(self, other: Self) -> Self {
        push(TraceOp::SubInt(self.0, other.0))
    }

    fn shift_left<const N: i32>(self) -> Self {
        push(TraceOp::ShiftLeft(self.0, N as u32))
    }

    fn shift_right<const N: i32>(self) -> Self {
        push(TraceOp::ShiftRight(self.0, N as u32))
    }

    fn to_int(self) -> Self {
        push(TraceOp::ToInt(self.0))
    }

    fn int_to_float(self) -> Self {
        push(TraceOp::IntToFloat(self.0))
    }

    fn to_array(self) -> [f32; LANES] {
        no_lanes()
    }

    fn from_array(_: [f32; LANES]) -> Self {
        no_lanes()
    }
}
