//! Instructions, decoded: operands are numbers of registers, constants and special registers.

use crate::counts::Class;
use crate::float::{Format, Rounding};
use crate::types::Ty;
use crate::warpgroup::WarpgroupMma;

/// A virtual register, by its number in the function.
pub(crate) type Reg = u32;

/// Special registers (section 10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    LaneId,
    WarpId,
    /// `%lanemask_eq`, `_le`, `_lt`, `_ge`, `_gt`, by that order.
    LaneMask(u8),
    /// Bytes of shared memory that the launch adds.
    DynamicSharedSize,
}

/// What an instruction reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operand {
    Reg(Reg),
    /// Bits of a constant.
    Bits(u64),
    Special(Special),
}

/// A place in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    pub(crate) base: Operand,
    pub(crate) offset: i64,
}

/// State spaces (section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Space {
    Global,
    Shared,
    Param,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unary {
    Neg,
    Abs,
    Not,
    Sqrt,
    Rsqrt,
    Rcp,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
    Popc,
    Clz,
    Brev,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    MulHi,
    /// Twice as wide as the operands.
    MulWide,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ternary {
    /// `fma` of floats, `mad.lo` of integers.
    Fma,
    MadHi,
    MadWide,
    /// By its table.
    Lop3(u8),
    Prmt,
    Bfe,
    /// `shf.l`, `shf.r`; whether amounts wrap.
    FunnelLeft {
        wraps: bool,
    },
    FunnelRight {
        wraps: bool,
    },
    /// `dp4a`, `a`'s and `b`'s signs.
    Dp4a {
        a_signed: bool,
        b_signed: bool,
    },
}

/// How float results are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FloatMode {
    pub(crate) rounding: Rounding,
    /// Flushes subnormal operands and results to zero.
    pub(crate) flushes: bool,
    /// Clamps results to 0 … 1.
    pub(crate) saturates: bool,
    /// Of `min` and `max`: NaN if either is NaN.
    pub(crate) propagates_nan: bool,
    /// Of conversions: negative values become 0.
    pub(crate) relu: bool,
    /// Of integers and narrow floats: clamps to the range of the type.
    pub(crate) clamps: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Neither is NaN.
    Num,
    /// Either is NaN.
    Nan,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BoolOp {
    And,
    Or,
    Xor,
}

/// A predicate operand, perhaps negated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Guard {
    pub(crate) reg: Reg,
    pub(crate) negated: bool,
}

/// How a float is rounded to an integral value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IntegerRounding {
    Nearest,
    Zero,
    Down,
    Up,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Atomic {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareAndSwap,
}

/// Element types of the factors of a matrix product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Factor {
    Float(Format),
    Int8 { signed: bool },
}

/// A product of a warp: `m16n8` by a number of steps of K (section 9.7.14.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mma {
    pub(crate) k: usize,
    pub(crate) a_ty: Factor,
    pub(crate) b_ty: Factor,
    /// f32 or f16 of floats; of integers, s32.
    pub(crate) accumulator: Ty,
    /// Of integers: clamps the sums.
    pub(crate) clamps: bool,
    pub(crate) d: Vec<Reg>,
    pub(crate) a: Vec<Operand>,
    pub(crate) b: Vec<Operand>,
    pub(crate) c: Vec<Operand>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Op {
    Mov {
        ty: Ty,
        dst: Reg,
        a: Operand,
    },
    /// Several registers as one, the first lowest.
    Pack {
        dst: Reg,
        part_bits: u32,
        parts: Vec<Operand>,
    },
    Unpack {
        parts: Vec<Option<Reg>>,
        part_bits: u32,
        a: Operand,
    },
    Unary {
        op: Unary,
        ty: Ty,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
    },
    Binary {
        op: Binary,
        ty: Ty,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
        b: Operand,
    },
    Ternary {
        op: Ternary,
        ty: Ty,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `bfi`.
    InsertBits {
        ty: Ty,
        dst: Reg,
        a: Operand,
        b: Operand,
        position: Operand,
        length: Operand,
    },
    SetP {
        compare: Compare,
        /// Whether NaN makes it true.
        unordered: bool,
        ty: Ty,
        dst: Reg,
        /// The opposite result.
        inverse: Option<Reg>,
        a: Operand,
        b: Operand,
        combine: Option<(BoolOp, Guard)>,
    },
    SelP {
        ty: Ty,
        dst: Reg,
        a: Operand,
        b: Operand,
        p: Guard,
    },
    /// `cvt`; `low` is the second source of conversions to pairs.
    Cvt {
        to: Ty,
        from: Ty,
        integral: Option<IntegerRounding>,
        mode: FloatMode,
        dst: Reg,
        a: Operand,
        low: Option<Operand>,
    },
    Load {
        space: Space,
        ty: Ty,
        dst: Vec<Option<Reg>>,
        at: Address,
    },
    Store {
        space: Space,
        ty: Ty,
        src: Vec<Operand>,
        at: Address,
    },
    Atomic {
        op: Atomic,
        space: Space,
        ty: Ty,
        dst: Option<Reg>,
        at: Address,
        a: Operand,
        b: Option<Operand>,
    },
    Branch {
        to: usize,
    },
    Exit,
    /// `bar.sync`, `barrier.sync`: number, and how many threads if not all.
    Barrier {
        id: Operand,
        threads: Option<Operand>,
    },
    /// `bar.warp.sync`.
    WarpBarrier {
        mask: Operand,
    },
    /// Orders memory accesses, which are in order here.
    Fence,
    Shuffle {
        mode: ShuffleMode,
        dst: Reg,
        in_range: Option<Reg>,
        a: Operand,
        b: Operand,
        c: Operand,
        mask: Operand,
    },
    Vote {
        vote: Vote,
        dst: Reg,
        p: Guard,
        mask: Operand,
    },
    ActiveMask {
        dst: Reg,
    },
    /// `redux.sync`.
    Reduce {
        op: Binary,
        ty: Ty,
        dst: Reg,
        a: Operand,
        mask: Operand,
    },
    /// `cp.async` of 4, 8 or 16 bytes.
    CopyAsync {
        bytes: u32,
        to: Address,
        from: Address,
        source_bytes: Option<Operand>,
    },
    CommitGroup,
    /// All but the last groups of copies have landed.
    WaitGroup(usize),
    /// `cp.async.wait_all`.
    WaitAll,
    LoadMatrix {
        dst: Vec<Reg>,
        at: Address,
        transposed: bool,
    },
    StoreMatrix {
        src: Vec<Operand>,
        at: Address,
        transposed: bool,
    },
    Mma(Mma),
    /// `fence.proxy.async`: products of warpgroups see what the thread has written.
    ProxyFence,
    /// `wgmma.fence`: products see what the warp's registers hold.
    WarpgroupFence,
    WarpgroupMma(Box<WarpgroupMma>),
    WarpgroupCommit,
    /// All but the last groups of products are done.
    WarpgroupWait(usize),
}

/// An instruction, its guard and where it is from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Instruction {
    pub(crate) op: Op,
    /// Lanes where this does not hold skip it.
    pub(crate) guard: Option<Guard>,
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Op {
    /// What it is counted as.
    pub(crate) fn class(&self) -> Class {
        match self {
            Op::Mov { .. } | Op::Pack { .. } | Op::Unpack { .. } | Op::SelP { .. } => Class::Move,
            Op::Unary { ty, op, .. } => match op {
                Unary::Sqrt | Unary::Rsqrt | Unary::Rcp | Unary::Ex2 | Unary::Lg2 => Class::Special,
                Unary::Sin | Unary::Cos | Unary::Tanh => Class::Special,
                _ => arithmetic(*ty),
            },
            Op::Binary { ty, op: Binary::Div, .. } if ty.is_float() => Class::Special,
            Op::Binary { ty, .. } | Op::Ternary { ty, .. } | Op::InsertBits { ty, .. } => arithmetic(*ty),
            Op::SetP { .. } => Class::Compare,
            Op::Cvt { .. } => Class::Convert,
            Op::Load { space, .. } | Op::Store { space, .. } | Op::Atomic { space, .. } => match space {
                Space::Global => Class::Global,
                Space::Shared => Class::Shared,
                Space::Param => Class::Parameter,
            },
            Op::Branch { .. } | Op::Exit => Class::Control,
            Op::Barrier { .. } | Op::WarpBarrier { .. } | Op::Fence | Op::ProxyFence => Class::Barrier,
            Op::Shuffle { .. } | Op::Vote { .. } | Op::ActiveMask { .. } | Op::Reduce { .. } => Class::Shuffle,
            Op::CopyAsync { .. } => Class::CopyAsync,
            Op::CommitGroup | Op::WaitGroup(_) | Op::WaitAll => Class::Barrier,
            Op::WarpgroupFence | Op::WarpgroupCommit | Op::WarpgroupWait(_) => Class::Barrier,
            Op::LoadMatrix { .. } | Op::StoreMatrix { .. } => Class::Matrix,
            Op::Mma(_) | Op::WarpgroupMma(_) => Class::TensorCore,
        }
    }
}

fn arithmetic(ty: Ty) -> Class {
    if ty.is_float() { Class::Float } else { Class::Integer }
}
