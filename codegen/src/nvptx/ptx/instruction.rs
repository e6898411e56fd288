//! Registers, operands and instructions.

/// What a register holds (section 5.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Class {
    /// A predicate.
    Pred,
    /// 16 bits.
    B16,
    /// 32 bits: integers, pairs of halves.
    B32,
    /// 64 bits: integers, addresses.
    B64,
    /// An f32.
    F32,
    /// An f64.
    F64,
}

impl Class {
    /// Every class.
    pub(crate) const ALL: &[Class] = &[Class::Pred, Class::B16, Class::B32, Class::B64, Class::F32, Class::F64];

    /// How names of its registers begin.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Class::Pred => "%p",
            Class::B16 => "%h",
            Class::B32 => "%r",
            Class::B64 => "%rd",
            Class::F32 => "%f",
            Class::F64 => "%fd",
        }
    }

    /// The type that its registers are declared with.
    pub(crate) fn declared(self) -> &'static str {
        match self {
            Class::Pred => "pred",
            Class::B16 => "b16",
            Class::B32 => "b32",
            Class::B64 => "b64",
            Class::F32 => "f32",
            Class::F64 => "f64",
        }
    }
}

/// A virtual register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Reg {
    /// What it holds.
    pub(crate) class: Class,
    /// Its number in the class.
    pub(crate) index: u32,
}

/// The type of an instruction (section 5.2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Ty {
    /// Predicate.
    Pred,
    /// Untyped 16 bits.
    B16,
    /// Untyped 32 bits.
    B32,
    /// Untyped 64 bits.
    B64,
    /// Unsigned.
    U8,
    /// Signed.
    S8,
    /// Unsigned.
    U16,
    /// Signed.
    S16,
    /// Unsigned.
    U32,
    /// Signed.
    S32,
    /// Unsigned.
    U64,
    /// Signed.
    S64,
    /// Half precision.
    F16,
    /// Brain float.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// An f32 of 10 bits of fraction, in a register of 32 bits.
    Tf32,
    /// Two of half precision.
    F16x2,
    /// Two brain floats.
    Bf16x2,
}

impl Ty {
    /// As instructions spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ty::Pred => "pred",
            Ty::B16 => "b16",
            Ty::B32 => "b32",
            Ty::B64 => "b64",
            Ty::U8 => "u8",
            Ty::S8 => "s8",
            Ty::U16 => "u16",
            Ty::S16 => "s16",
            Ty::U32 => "u32",
            Ty::S32 => "s32",
            Ty::U64 => "u64",
            Ty::S64 => "s64",
            Ty::F16 => "f16",
            Ty::Bf16 => "bf16",
            Ty::F32 => "f32",
            Ty::F64 => "f64",
            Ty::Tf32 => "tf32",
            Ty::F16x2 => "f16x2",
            Ty::Bf16x2 => "bf16x2",
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Ty::Pred | Ty::U8 | Ty::S8 => 1,
            Ty::B16 | Ty::U16 | Ty::S16 | Ty::F16 | Ty::Bf16 => 2,
            Ty::B32 | Ty::U32 | Ty::S32 | Ty::F32 | Ty::Tf32 | Ty::F16x2 | Ty::Bf16x2 => 4,
            Ty::B64 | Ty::U64 | Ty::S64 | Ty::F64 => 8,
        }
    }

    /// The class of registers that hold it. Integers of 8 and 16 bits live in 32-bit registers.
    pub(crate) fn class(self) -> Class {
        match self {
            Ty::Pred => Class::Pred,
            Ty::B16 | Ty::F16 | Ty::Bf16 => Class::B16,
            Ty::B32 | Ty::Tf32 | Ty::F16x2 | Ty::Bf16x2 => Class::B32,
            Ty::U32 | Ty::S32 | Ty::U8 | Ty::S8 | Ty::U16 | Ty::S16 => Class::B32,
            Ty::B64 | Ty::U64 | Ty::S64 => Class::B64,
            Ty::F32 => Class::F32,
            Ty::F64 => Class::F64,
        }
    }
}

/// A source of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Operand {
    /// A register.
    Reg(Reg),
    /// An integer.
    Int(i64),
    /// An f32 by its bits.
    F32(u32),
    /// An f64 by its bits.
    F64(u64),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Operand {
        Operand::Reg(reg)
    }
}

impl From<i64> for Operand {
    fn from(value: i64) -> Operand {
        Operand::Int(value)
    }
}

impl From<f32> for Operand {
    fn from(value: f32) -> Operand {
        Operand::F32(value.to_bits())
    }
}

/// Operations of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unary {
    /// `mov` (9.7.9.3).
    Mov,
    /// `neg` (9.7.1.12, 9.7.3.11).
    Neg,
    /// `abs` (9.7.1.11, 9.7.3.10).
    Abs,
    /// `not` (9.7.8.5).
    Not,
    /// `sqrt.rn` (9.7.3.14): correctly rounded.
    Sqrt,
    /// `sqrt.approx` (9.7.3.14): within 2 units in the last place.
    SqrtApprox,
    /// `rcp.approx` (9.7.3.12): within 1 unit in the last place.
    ReciprocalApprox,
    /// `ex2.approx.ftz` (9.7.3.20): within 2 units in the last place.
    Exp2,
}

/// Operations of two sources. Float ones round to nearest even.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Binary {
    /// `add` (9.7.1.1, 9.7.3.3).
    Add,
    /// `sub` (9.7.1.2, 9.7.3.4).
    Sub,
    /// `mul`, `mul.lo` of integers (9.7.1.3, 9.7.3.5).
    Mul,
    /// `div`, `div.rn` of floats (9.7.1.8, 9.7.3.8).
    Div,
    /// `div.full` (9.7.3.8): of f32, within 2 units in the last place.
    DivFull,
    /// `rem` (9.7.1.9).
    Rem,
    /// `min`, NaN if either is NaN (`min.NaN`; 9.7.1.13, 9.7.3.12).
    Min,
    /// `max`, NaN if either is NaN (`max.NaN`; 9.7.1.14, 9.7.3.13).
    Max,
    /// `and` (9.7.8.1).
    And,
    /// `or` (9.7.8.2).
    Or,
    /// `xor` (9.7.8.3).
    Xor,
    /// `shl` (9.7.8.7): amounts beyond the width give 0.
    Shl,
    /// `shr` (9.7.8.8): by type, with copies of the sign.
    Shr,
}

/// Comparisons (9.7.6.1). Ordered, except `Ne` of floats, which is true for NaN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compare {
    /// Equal.
    Eq,
    /// Not equal, or either is NaN.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// How a conversion rounds (9.7.9.21).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rounding {
    /// Exact, or wrapping integers.
    None,
    /// To the nearest float, ties to even.
    Rn,
    /// To the nearest float, ties away from zero.
    Rna,
    /// To the nearest integer, ties to even.
    Rni,
    /// To an integer towards zero.
    Rzi,
    /// To an integer towards negative infinity.
    Rmi,
    /// To an integer towards positive infinity.
    Rpi,
}

/// State spaces (section 5.1) that loads and stores name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Space {
    /// Global memory, 64-bit addresses.
    Global,
    /// Shared memory of the block, 32-bit addresses from its start.
    Shared,
}

/// Special registers (section 10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    /// `%tid.x`: the thread in its block.
    Thread,
    /// `%ctaid.x`: the block in the grid.
    Block,
}

/// A place to branch to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Label(pub(crate) u32);

/// Operand types of a matrix product of a warp; accumulators are f32 (9.7.14.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MmaKind {
    /// `m16n8k16` of f16.
    F16,
    /// `m16n8k16` of bf16.
    Bf16,
    /// `m16n8k8` of tf32.
    Tf32,
}

/// One instruction. Those with a `guard` have no effect in threads where it is false (section 9.3).
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Instruction {
    /// `ld.param`: a buffer's address, or a 32-bit parameter after those.
    Param { dst: Reg, index: usize },
    /// Reads a special register.
    Special { dst: Reg, from: Special },
    /// `mov.u32 dst, shared + at`: an address in shared memory.
    SharedAddress { dst: Reg, at: u32 },
    /// An operation of one source.
    Unary { op: Unary, ty: Ty, dst: Reg, a: Operand },
    /// An operation of two sources.
    Binary { op: Binary, ty: Ty, dst: Reg, a: Operand, b: Operand },
    /// `fma.rn` of floats (9.7.3.6), `mad.lo` of integers (9.7.1.4).
    Fma { ty: Ty, dst: Reg, a: Operand, b: Operand, c: Operand },
    /// `mad.wide.s32` (9.7.1.4): `a * b + c` with 64-bit `c`.
    MadWide { dst: Reg, a: Operand, b: Operand, c: Operand },
    /// `setp` (9.7.6.1).
    SetP { compare: Compare, ty: Ty, dst: Reg, a: Operand, b: Operand },
    /// `selp` (9.7.6.3).
    SelP { ty: Ty, dst: Reg, yes: Operand, no: Operand, p: Reg },
    /// `cvt` (9.7.9.21).
    Cvt { rounding: Rounding, to: Ty, from: Ty, dst: Reg, a: Operand },
    /// `mov.b32 dst, {low, high}` (9.7.9.3).
    Pack { dst: Reg, parts: [Reg; 2] },
    /// `cvt.rn` of two f32, the first lowest, to a pair of 16-bit floats (9.7.9.21).
    Round { ty: Ty, dst: Reg, parts: [Reg; 2] },
    /// `mov.b32 {low, high}, src` (9.7.9.3).
    Unpack { parts: [Reg; 2], src: Reg },
    /// `ld`, of as many neighbours as there are registers: 1, 2 or 4 (9.7.9.8).
    Load { space: Space, ty: Ty, dst: Vec<Reg>, base: Operand, offset: i32, guard: Option<Reg> },
    /// `st` (9.7.9.11).
    Store { space: Space, ty: Ty, src: Vec<Reg>, base: Operand, offset: i32, guard: Option<Reg> },
    /// `bra` (9.7.12.2), where `guard` is there and has the value `when`, or always.
    Branch { to: Label, guard: Option<(Reg, bool)> },
    /// Where branches lead.
    Label(Label),
    /// `.pragma "nounroll"` at the start of a loop (11.5.1).
    NoUnroll,
    /// `bar.sync 0` (9.7.13.1).
    Barrier,
    /// `bar.warp.sync -1`: all threads of a warp.
    WarpBarrier,
    /// `shfl.sync.bfly.b32` over the whole warp (9.7.9.6): the value of lane `lane ^ mask`.
    Shuffle { dst: Reg, src: Reg, mask: u32 },
    /// `cp.async.cg.shared.global` of 16 bytes (9.7.9.25.3), the last `16 - bytes` of which are zeros.
    CopyAsync { to: Operand, offset: i32, from: Reg, bytes: Operand, guard: Option<Reg> },
    /// `cp.async.commit_group` (9.7.9.25.3).
    CommitGroup,
    /// `cp.async.wait_group n` (9.7.9.25.3): all but the last `n` groups have arrived.
    WaitGroup(u32),
    /// `ldmatrix.sync.aligned.m8n8.x4` (9.7.14.5.15); `transposed` gives the transposes.
    LoadMatrix { dst: [Reg; 4], base: Reg, offset: i32, transposed: bool },
    /// `mma.sync.aligned.row.col` (9.7.14.5.14): `acc += a × b`.
    Mma { kind: MmaKind, acc: [Reg; 4], a: [Reg; 4], b: [Reg; 2] },
    /// `fence.proxy.async` (9.7.13.4): products of warpgroups see what the thread has written to shared memory.
    ProxyFence,
    /// `wgmma.fence` (9.7.15.7.1): products of warpgroups see what registers hold.
    WarpgroupFence,
    /// `wgmma.mma_async` (9.7.15.5.2).
    WarpgroupMma(Box<WarpgroupMma>),
    /// `wgmma.commit_group` (9.7.15.7.2).
    WarpgroupCommit,
    /// `wgmma.wait_group n` (9.7.15.7.3): all but the last `n` groups are done.
    WarpgroupWait(u32),
    /// `ret` (9.7.12.6).
    Return,
}

/// `acc += a × b` of a warpgroup, 64 rows by `2 acc.len()` columns over 16 steps of K, which runs until it is waited for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct WarpgroupMma {
    pub(crate) kind: MmaKind,
    pub(crate) acc: Vec<Reg>,
    pub(crate) a: Left,
    /// B's descriptor.
    pub(crate) b: Reg,
    /// Whether rows of B's memory are along N, not along K.
    pub(crate) b_across: bool,
    /// Whether the old sums are added.
    pub(crate) accumulates: Reg,
}

/// Operand A of a warpgroup's product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// A fragment as that of `mma`, 16 rows a warp.
    Registers([Reg; 4]),
    /// A descriptor, and whether rows of memory are along M, not along K.
    Memory(Reg, bool),
}
