//! Scalar functions: what pointwise ops and Kernel IR bodies compute, in one table.
//!
//! Each line of [`scalar_ops!`] is a function: its name, arity and the rule for its result type. Integer arithmetic
//! wraps; 16-bit and 8-bit floats compute in f32 and round once. [`ScalarOp::eval`] defines every function.

use crate::math::Math;
use crate::minifloat::{Overflow, decode, encode};
use crate::op::{OpError, OperandSpec};
use ic_types::{DType, Data, Dim, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// How the result type follows from the operand types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResultRule {
    /// All operands and the result have one numeric type.
    Number,
    /// All operands and the result have one float type.
    Float,
    /// All operands and the result have one integer type.
    Int,
    /// All operands and the result are bool.
    Bool,
    /// All operands have one type; the result is bool.
    Compare,
    /// One float operand; the result is bool.
    Test,
    /// The first operand is bool, the others have one type, which is the result's.
    Select,
}

macro_rules! scalar_ops {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $arity:literal, $rule:ident;)*) => {
        /// A function of scalars.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum ScalarOp {
            $($(#[$doc])* $variant,)*
        }

        impl ScalarOp {
            /// Every function.
            pub const ALL: &[ScalarOp] = &[$(ScalarOp::$variant,)*];

            /// The name in IR text.
            pub fn name(self) -> &'static str {
                match self { $(ScalarOp::$variant => $name,)* }
            }

            /// The function of this name.
            pub fn from_name(name: &str) -> Option<ScalarOp> {
                match name { $($name => Some(ScalarOp::$variant),)* _ => None }
            }

            /// Number of operands.
            pub fn arity(self) -> usize {
                match self { $(ScalarOp::$variant => $arity,)* }
            }

            /// How the result type follows from the operand types.
            pub fn rule(self) -> ResultRule {
                match self { $(ScalarOp::$variant => ResultRule::$rule,)* }
            }
        }
    };
}

scalar_ops! {
    /// `-a`.
    Neg = "neg", 1, Number;
    /// Magnitude.
    Abs = "abs", 1, Number;
    /// -1, 0 or 1 by sign; NaN stays NaN.
    Sign = "sign", 1, Number;
    /// Rounds towards negative infinity.
    Floor = "floor", 1, Float;
    /// Rounds towards positive infinity.
    Ceil = "ceil", 1, Float;
    /// Rounds to nearest, ties to even.
    Round = "round", 1, Float;
    /// Square root.
    Sqrt = "sqrt", 1, Float;
    /// `1 / a`.
    Reciprocal = "reciprocal", 1, Float;
    /// `e^a`.
    Exp = "exp", 1, Float;
    /// Natural logarithm.
    Log = "log", 1, Float;
    /// Error function.
    Erf = "erf", 1, Float;
    /// Sine.
    Sin = "sin", 1, Float;
    /// Cosine.
    Cos = "cos", 1, Float;
    /// Tangent.
    Tan = "tan", 1, Float;
    /// Arc sine.
    Asin = "asin", 1, Float;
    /// Arc cosine.
    Acos = "acos", 1, Float;
    /// Arc tangent.
    Atan = "atan", 1, Float;
    /// Hyperbolic sine.
    Sinh = "sinh", 1, Float;
    /// Hyperbolic cosine.
    Cosh = "cosh", 1, Float;
    /// Hyperbolic tangent.
    Tanh = "tanh", 1, Float;
    /// Inverse hyperbolic sine.
    Asinh = "asinh", 1, Float;
    /// Inverse hyperbolic cosine.
    Acosh = "acosh", 1, Float;
    /// Inverse hyperbolic tangent.
    Atanh = "atanh", 1, Float;
    /// `1 / (1 + e^-a)`.
    Sigmoid = "sigmoid", 1, Float;
    /// `a * sigmoid(a)`.
    Silu = "silu", 1, Float;
    /// `a * 0.5 * (1 + erf(a / sqrt 2))`.
    Gelu = "gelu", 1, Float;
    /// `a * 0.5 * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 a^3)))`.
    GeluTanh = "gelu_tanh", 1, Float;
    /// `a * min(max(a / 6 + 0.5, 0), 1)`.
    HardSwish = "hard_swish", 1, Float;
    /// `max(a, 0)`; NaN stays NaN.
    Relu = "relu", 1, Number;
    /// `log(1 + e^a)`.
    Softplus = "softplus", 1, Float;
    /// `a + b`.
    Add = "add", 2, Number;
    /// `a - b`.
    Sub = "sub", 2, Number;
    /// `a * b`.
    Mul = "mul", 2, Number;
    /// `a / b`; integers truncate, and division by zero gives 0.
    Div = "div", 2, Number;
    /// `a^b`.
    Pow = "pow", 2, Number;
    /// Remainder with the sign of the divisor; integer remainder by zero is 0.
    Mod = "mod", 2, Number;
    /// Remainder with the sign of the dividend, as C's `fmod`; integer remainder by zero is 0.
    Rem = "rem", 2, Number;
    /// The smaller; NaN if either is NaN.
    Min = "min", 2, Number;
    /// The larger; NaN if either is NaN.
    Max = "max", 2, Number;
    /// `a == b`.
    Eq = "eq", 2, Compare;
    /// `a != b`.
    Ne = "ne", 2, Compare;
    /// `a < b`.
    Lt = "lt", 2, Compare;
    /// `a <= b`.
    Le = "le", 2, Compare;
    /// `a > b`.
    Gt = "gt", 2, Compare;
    /// `a >= b`.
    Ge = "ge", 2, Compare;
    /// Logical and.
    And = "and", 2, Bool;
    /// Logical or.
    Or = "or", 2, Bool;
    /// Logical exclusive or.
    Xor = "xor", 2, Bool;
    /// Logical not.
    Not = "not", 1, Bool;
    /// Bitwise and.
    BitAnd = "bit_and", 2, Int;
    /// Bitwise or.
    BitOr = "bit_or", 2, Int;
    /// Bitwise exclusive or.
    BitXor = "bit_xor", 2, Int;
    /// Bitwise not.
    BitNot = "bit_not", 1, Int;
    /// `a << b`; 0 where `b` is negative or at least the width.
    Shl = "shl", 2, Int;
    /// `a >> b`, with copies of the sign bit from above; nothing but those where `b` is negative or at least the width.
    Shr = "shr", 2, Int;
    /// Whether `a` is NaN.
    IsNan = "is_nan", 1, Test;
    /// Whether `a` is an infinity.
    IsInf = "is_inf", 1, Test;
    /// `b` where `a`, else `c`.
    Select = "select", 3, Select;
}

crate::word_attr! {
    /// How a reduction combines elements.
    ReduceFn {
        /// The sum; 0 of nothing.
        Sum = "sum",
        /// The product; 1 of nothing.
        Prod = "prod",
        /// The largest element, NaN if any is NaN; the smallest value of the type of nothing.
        Max = "max",
        /// The smallest element, NaN if any is NaN; the largest value of the type of nothing.
        Min = "min",
        /// The arithmetic mean; truncated in integer types.
        Mean = "mean",
        /// Whether any element is true.
        Any = "any",
        /// Whether all elements are true.
        All = "all",
    }
}

/// One element.
#[derive(Clone, PartialEq, Debug)]
pub enum Scalar {
    /// An f32, or a narrower float widened, with its type.
    F32(f32, DType),
    /// An f64.
    F64(f64),
    /// An integer, with its type.
    Int(i128, DType),
    /// A bool.
    Bool(bool),
    /// A string.
    Text(String),
}

impl ScalarOp {
    /// Operands in messages: `a`, `b`, `c`.
    pub fn operands(self) -> &'static [OperandSpec] {
        const NAMES: &[OperandSpec] =
            &[OperandSpec::required("a"), OperandSpec::required("b"), OperandSpec::required("c")];
        &NAMES[..self.arity()]
    }

    /// The result's element type.
    ///
    /// # Errors
    /// If the function does not take these types.
    pub fn result_dtype(self, types: &[DType]) -> Result<DType, OpError> {
        crate::ensure!(types.len() == self.arity(), "takes {} operands, found {}", self.arity(), types.len());
        let same = |types: &[DType]| types.windows(2).all(|w| w[0] == w[1]);
        let first = types[0];
        let number = first.is_float() || first.is_int();
        let (fits, result) = match self.rule() {
            ResultRule::Number => (same(types) && number, first),
            ResultRule::Float => (same(types) && first.is_float(), first),
            ResultRule::Int => (same(types) && first.is_int(), first),
            ResultRule::Bool => (same(types) && first == DType::Bool, DType::Bool),
            ResultRule::Compare => (same(types), DType::Bool),
            ResultRule::Test => (first.is_float(), DType::Bool),
            ResultRule::Select => (first == DType::Bool && same(&types[1..]), types[1]),
        };
        let list = types.iter().map(DType::to_string).collect::<Vec<_>>().join(", ");
        let complex = types.iter().any(|ty| matches!(ty, DType::C64 | DType::C128 | DType::Object));
        crate::ensure!(fits && !complex, "operands of types {list} do not fit");
        Ok(result)
    }

    /// The function on dimension expressions that stand for integers, or for bools as 0 and 1, where it has a canonical
    /// form.
    pub fn eval_dim(self, args: &[&Dim]) -> Option<Dim> {
        if let Some(constants) = args.iter().map(|dim| dim.as_const()).collect::<Option<Vec<_>>>() {
            return self.eval_constants(&constants).map(Dim::constant);
        }
        match (self, args) {
            (ScalarOp::Add, [a, b]) => Some((*a).clone() + (*b).clone()).filter(is_exact),
            (ScalarOp::Sub, [a, b]) => Some((*a).clone() - (*b).clone()).filter(is_exact),
            (ScalarOp::Mul, [a, b]) => Some((*a).clone() * (*b).clone()).filter(is_exact),
            (ScalarOp::Neg, [a]) => Some(-(*a).clone()).filter(is_exact),
            (ScalarOp::Abs, [a]) => Some(a.maximum(&-(*a).clone())),
            (ScalarOp::Min | ScalarOp::And, [a, b]) => Some(a.minimum(b)),
            (ScalarOp::Max | ScalarOp::Or, [a, b]) => Some(a.maximum(b)),
            (ScalarOp::Not, [a]) => Some(Dim::constant(1) - (*a).clone()),
            (ScalarOp::Relu, [a]) => Some(a.maximum(&Dim::constant(0))),
            // Truncation and floor agree where both are known not to be negative.
            (ScalarOp::Div, [a, b]) if at_least(a, 0) && at_least(b, 0) && !b.is(0) => Some(a.floor_div(b)),
            (ScalarOp::Mod, [a, b]) if !b.is(0) => Some(a.modulo(b)),
            (ScalarOp::Rem, [a, b]) if at_least(a, 0) && at_least(b, 1) => Some(a.modulo(b)),
            (ScalarOp::Pow, [a, b]) => {
                let exponent = b.as_const().filter(|b| (0..=2).contains(b))?;
                Some((0..exponent).map(|_| (*a).clone()).product()).filter(is_exact)
            }
            (ScalarOp::Select, [c, a, b]) => match c.as_const() {
                Some(0) => Some((*b).clone()),
                Some(_) => Some((*a).clone()),
                None => (a == b).then(|| (*a).clone()),
            },
            (_, [a, b]) => self.compare_dims(a, b).map(|truth| Dim::constant(truth.into())),
            _ => None,
        }
    }

    /// The function on numbers that are all known: i64 or, where it takes or gives bools, those as 0 and 1.
    fn eval_constants(self, values: &[i64]) -> Option<i64> {
        let is_bool = |i: usize| self.rule() == ResultRule::Bool || (self.rule() == ResultRule::Select && i == 0);
        let scalar = |(i, &value): (usize, &i64)| match is_bool(i) {
            true => Scalar::Bool(value != 0),
            false => Scalar::Int(value.into(), DType::I64),
        };
        let args: Vec<Scalar> = values.iter().enumerate().map(scalar).collect();
        match self.eval(&args).ok()? {
            Scalar::Int(value, _) => i64::try_from(value).ok(),
            Scalar::Bool(value) => Some(value.into()),
            _ => None,
        }
    }

    /// The function on dimension expressions that stand for f32 without fraction.
    pub fn eval_whole(self, args: &[&Dim]) -> Option<Dim> {
        let result = match (self, args) {
            (ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Round, [a]) => Some((*a).clone()),
            (ScalarOp::Div, [a, b]) => a.exact_div(b).filter(|_| !b.is(0)),
            (ScalarOp::Pow, [_, b]) if !b.is(2) => None,
            (ScalarOp::Mod | ScalarOp::Rem, [_, b]) if b.is(0) => None,
            _ => self.eval_dim(args),
        };
        result.filter(|dim| dim.as_const().is_none_or(is_whole_f32))
    }

    /// How two dimension expressions compare, where it is the same for all values of the symbols.
    fn compare_dims(self, a: &Dim, b: &Dim) -> Option<bool> {
        // A difference may lie outside of 64 bits.
        let difference = match (a.as_const(), b.as_const()) {
            (Some(a), Some(b)) => Dim::constant(a.cmp(&b) as i64),
            _ if a == b => Dim::constant(0),
            _ => a.clone() - b.clone(),
        };
        let (low, high) = (difference.lower_bound(), difference.upper_bound());
        let above = |bound: i64| low.is_some_and(|low| low >= bound);
        let below = |bound: i64| high.is_some_and(|high| high <= bound);
        let decide = |yes: bool, no: bool| if yes { Some(true) } else { no.then_some(false) };
        match self {
            ScalarOp::Eq => decide(difference.is(0), above(1) || below(-1)),
            ScalarOp::Ne => decide(above(1) || below(-1), difference.is(0)),
            ScalarOp::Lt => decide(below(-1), above(0)),
            ScalarOp::Le => decide(below(0), above(1)),
            ScalarOp::Gt => decide(above(1), below(0)),
            ScalarOp::Ge => decide(above(0), below(-1)),
            _ => None,
        }
    }

    /// The function's value. This is its definition.
    ///
    /// # Errors
    /// If the arguments are of types that the function does not take.
    pub fn eval(self, args: &[Scalar]) -> Result<Scalar, OpError> {
        use Scalar::{Bool, F32, F64, Int};
        let mismatch = || OpError(format!("`{}` does not take {args:?}", self.name()));
        match (self, args) {
            (ScalarOp::Select, [Bool(c), a, b]) => Ok(if *c { a.clone() } else { b.clone() }),
            (ScalarOp::Eq, [a, b]) => Ok(Bool(a == b)),
            (ScalarOp::Ne, [a, b]) => Ok(Bool(a != b)),
            (_, [F32(a, ty)]) => match self.test(f64::from(*a)) {
                Some(result) => Ok(Bool(result)),
                None => Ok(F32(unary_float(self, *a).ok_or_else(mismatch)?, *ty)),
            },
            (_, [F64(a)]) => match self.test(*a) {
                Some(result) => Ok(Bool(result)),
                None => Ok(F64(unary_float(self, *a).ok_or_else(mismatch)?)),
            },
            (_, [Int(a, ty)]) => Ok(wrap(self.unary_int(*a).ok_or_else(mismatch)?, *ty)),
            (_, [F32(a, ty), F32(b, _)]) => match self.compare(a, b) {
                Some(result) => Ok(Bool(result)),
                None => Ok(F32(binary_float(self, *a, *b).ok_or_else(mismatch)?, *ty)),
            },
            (_, [F64(a), F64(b)]) => match self.compare(a, b) {
                Some(result) => Ok(Bool(result)),
                None => Ok(F64(binary_float(self, *a, *b).ok_or_else(mismatch)?)),
            },
            (_, [Int(a, ty), Int(b, _)]) => match self.compare(a, b) {
                Some(result) => Ok(Bool(result)),
                None => Ok(wrap(self.binary_int(*a, *b, *ty).ok_or_else(mismatch)?, *ty)),
            },
            (ScalarOp::Not, [Bool(a)]) => Ok(Bool(!a)),
            (ScalarOp::And, [Bool(a), Bool(b)]) => Ok(Bool(a & b)),
            (ScalarOp::Or, [Bool(a), Bool(b)]) => Ok(Bool(a | b)),
            (ScalarOp::Xor, [Bool(a), Bool(b)]) => Ok(Bool(a ^ b)),
            (_, [Bool(a), Bool(b)]) => self.compare(a, b).map(Bool).ok_or_else(mismatch),
            _ => Err(mismatch()),
        }
    }

    fn test(self, a: f64) -> Option<bool> {
        match self {
            ScalarOp::IsNan => Some(a.is_nan()),
            ScalarOp::IsInf => Some(a.is_infinite()),
            _ => None,
        }
    }

    fn compare<T: PartialOrd>(self, a: &T, b: &T) -> Option<bool> {
        match self {
            ScalarOp::Lt => Some(a < b),
            ScalarOp::Le => Some(a <= b),
            ScalarOp::Gt => Some(a > b),
            ScalarOp::Ge => Some(a >= b),
            _ => None,
        }
    }

    fn unary_int(self, a: i128) -> Option<i128> {
        match self {
            ScalarOp::Neg => Some(-a),
            ScalarOp::Abs => Some(a.abs()),
            ScalarOp::Sign => Some(a.signum()),
            ScalarOp::Relu => Some(a.max(0)),
            ScalarOp::BitNot => Some(!a),
            _ => None,
        }
    }

    fn binary_int(self, a: i128, b: i128, ty: DType) -> Option<i128> {
        let bits = ty.bits() as i128;
        Some(match self {
            ScalarOp::Add => a + b,
            ScalarOp::Sub => a - b,
            ScalarOp::Mul => a.wrapping_mul(b),
            ScalarOp::Div => a.checked_div(b).unwrap_or(0),
            ScalarOp::Rem => a.checked_rem(b).unwrap_or(0),
            ScalarOp::Mod => {
                let rest = a.checked_rem(b).unwrap_or(0);
                if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
            }
            ScalarOp::Pow if b < 0 => match a {
                1 => 1,
                -1 => 1 - 2 * (b & 1),
                _ => 0,
            },
            // Wrapping at 128 bits keeps the low bits of every narrower type.
            ScalarOp::Pow => a.wrapping_pow(u32::try_from(b).unwrap_or(u32::MAX)),
            ScalarOp::Min => a.min(b),
            ScalarOp::Max => a.max(b),
            ScalarOp::BitAnd => a & b,
            ScalarOp::BitOr => a | b,
            ScalarOp::BitXor => a ^ b,
            ScalarOp::Shl => {
                if (0..bits).contains(&b) {
                    a << b
                } else {
                    0
                }
            }
            ScalarOp::Shr => a >> if (0..bits).contains(&b) { b } else { 127 },
            _ => return None,
        })
    }
}

/// Whether f32 holds all integers of this magnitude.
pub(crate) fn is_whole_f32(value: i64) -> bool {
    value.unsigned_abs() <= 1 << 24
}

/// Whether no coefficient is at a limit of 64 bits: there extents saturate, while numbers wrap.
fn is_exact(dim: &Dim) -> bool {
    dim.terms().all(|(_, coefficient)| ![i64::MIN, i64::MAX].contains(&coefficient))
}

fn at_least(dim: &Dim, bound: i64) -> bool {
    dim.lower_bound().is_some_and(|low| low >= bound)
}

/// 1 if `dim` is never 0, 0 if it always is, where that is known.
pub(crate) fn truth(dim: &Dim) -> Option<Dim> {
    let never = at_least(dim, 1) || dim.upper_bound().is_some_and(|high| high < 0);
    if dim.is(0) { Some(Dim::constant(0)) } else { never.then(|| Dim::constant(1)) }
}

/// `a` as a float function sees it: NaN wins, then the larger.
fn float_max<F: Math>(a: F, b: F) -> F {
    if a.is_nan() || a > b { a } else { b }
}

fn float_min<F: Math>(a: F, b: F) -> F {
    if a.is_nan() || a < b { a } else { b }
}

fn sigmoid<F: Math>(a: F) -> F {
    F::from_f64(1.0) / (F::from_f64(1.0) + (-a).exp())
}

fn unary_float<F: Math>(op: ScalarOp, a: F) -> Option<F> {
    let c = F::from_f64;
    let (zero, half, one) = (c(0.0), c(0.5), c(1.0));
    Some(match op {
        ScalarOp::Neg => -a,
        ScalarOp::Abs => a.abs(),
        ScalarOp::Sign if a > zero => one,
        ScalarOp::Sign if a < zero => -one,
        // Both zeros give zero, and NaN stays NaN.
        ScalarOp::Sign => a + zero,
        ScalarOp::Floor => a.floor(),
        ScalarOp::Ceil => a.ceil(),
        ScalarOp::Round => a.rint(),
        ScalarOp::Sqrt => a.sqrt(),
        ScalarOp::Reciprocal => one / a,
        ScalarOp::Exp => a.exp(),
        ScalarOp::Log => a.log(),
        ScalarOp::Erf => a.erf(),
        ScalarOp::Sin => a.sin(),
        ScalarOp::Cos => a.cos(),
        ScalarOp::Tan => a.tan(),
        ScalarOp::Asin => a.asin(),
        ScalarOp::Acos => a.acos(),
        ScalarOp::Atan => a.atan(),
        ScalarOp::Sinh => a.sinh(),
        ScalarOp::Cosh => a.cosh(),
        ScalarOp::Tanh => a.tanh(),
        ScalarOp::Asinh => a.asinh(),
        ScalarOp::Acosh => a.acosh(),
        ScalarOp::Atanh => a.atanh(),
        ScalarOp::Sigmoid => sigmoid(a),
        ScalarOp::Silu => a * sigmoid(a),
        ScalarOp::Gelu => a * half * (one + (a * c(std::f64::consts::FRAC_1_SQRT_2)).erf()),
        ScalarOp::GeluTanh => a * half * (one + (c(0.797_884_560_802_865_4) * (a + c(0.044715) * a * a * a)).tanh()),
        ScalarOp::HardSwish => a * float_min(float_max(a / c(6.0) + half, zero), one),
        ScalarOp::Relu => float_max(a, zero),
        // For large a the exponential would overflow where the result is a itself.
        ScalarOp::Softplus => float_max(a, zero) + (-a.abs()).exp().log1p(),
        _ => return None,
    })
}

fn binary_float<F: Math>(op: ScalarOp, a: F, b: F) -> Option<F> {
    let zero = F::from_f64(0.0);
    Some(match op {
        ScalarOp::Add => a + b,
        ScalarOp::Sub => a - b,
        ScalarOp::Mul => a * b,
        ScalarOp::Div => a / b,
        ScalarOp::Pow => a.pow(b),
        ScalarOp::Rem => a.fmod(b),
        ScalarOp::Mod => {
            let rest = a.fmod(b);
            if rest != zero && (rest < zero) != (b < zero) { rest + b } else { rest }
        }
        ScalarOp::Min => float_min(a, b),
        ScalarOp::Max => float_max(a, b),
        _ => return None,
    })
}

/// The integer of type `ty` with the low bits of `value`.
fn wrap(value: i128, ty: DType) -> Scalar {
    let shift = 128 - ty.bits() as u32;
    let wrapped =
        if ty.is_signed_int() { (value << shift) >> shift } else { (((value as u128) << shift) >> shift) as i128 };
    Scalar::Int(wrapped, ty)
}

impl Scalar {
    /// Element `i` of `data`.
    ///
    /// # Panics
    /// If `i` is out of range, or the elements are complex or objects.
    pub fn read(data: &Data, i: usize) -> Scalar {
        let int = |x: i128| Scalar::Int(x, data.dtype());
        let narrow = |bits: u8| Scalar::F32(decode(data.dtype(), bits.into()) as f32, data.dtype());
        match data {
            Data::F64(v) => Scalar::F64(v[i]),
            Data::F32(v) => Scalar::F32(v[i], DType::F32),
            Data::F16(v) => Scalar::F32(f16_to_f32(v[i]), DType::F16),
            Data::BF16(v) => Scalar::F32(bf16_to_f32(v[i]), DType::BF16),
            Data::I64(v) => int(v[i].into()),
            Data::I32(v) => int(v[i].into()),
            Data::I16(v) => int(v[i].into()),
            Data::I8(v) | Data::I4(v) | Data::I2(v) => int(v[i].into()),
            Data::U64(v) => int(v[i].into()),
            Data::U32(v) => int(v[i].into()),
            Data::U16(v) => int(v[i].into()),
            Data::U8(v) | Data::U4(v) | Data::U2(v) => int(v[i].into()),
            Data::Bool(v) => Scalar::Bool(v[i]),
            Data::String(v) => Scalar::Text(v[i].clone()),
            Data::F8E4M3FN(v) | Data::F8E4M3FNUZ(v) | Data::F8E5M2(v) | Data::F8E5M2FNUZ(v) => narrow(v[i]),
            Data::F8E8M0(v) | Data::F4E2M1(v) => narrow(v[i]),
            Data::C64(_) | Data::C128(_) | Data::Object(_) => panic!("no scalar arithmetic on {}", data.dtype()),
        }
    }

    /// Stores this as element `i` of `data`.
    ///
    /// # Errors
    /// If the element type differs.
    pub fn write(&self, data: &mut Data, i: usize) -> Result<(), OpError> {
        let dtype = data.dtype();
        let narrow = |x: f32| encode(dtype, x.into(), Overflow::Saturate) as u8;
        match (self, data) {
            (Scalar::F64(x), Data::F64(v)) => v[i] = *x,
            (Scalar::F32(x, _), Data::F32(v)) => v[i] = *x,
            (Scalar::F32(x, _), Data::F16(v)) => v[i] = f32_to_f16(*x),
            (Scalar::F32(x, _), Data::BF16(v)) => v[i] = f32_to_bf16(*x),
            (
                Scalar::F32(x, _),
                Data::F8E4M3FN(v) | Data::F8E4M3FNUZ(v) | Data::F8E5M2(v) | Data::F8E5M2FNUZ(v) | Data::F8E8M0(v),
            ) => v[i] = narrow(*x),
            (Scalar::F32(x, _), Data::F4E2M1(v)) => v[i] = narrow(*x),
            (Scalar::Int(x, _), Data::I64(v)) => v[i] = *x as i64,
            (Scalar::Int(x, _), Data::I32(v)) => v[i] = *x as i32,
            (Scalar::Int(x, _), Data::I16(v)) => v[i] = *x as i16,
            (Scalar::Int(x, _), Data::I8(v) | Data::I4(v) | Data::I2(v)) => v[i] = *x as i8,
            (Scalar::Int(x, _), Data::U64(v)) => v[i] = *x as u64,
            (Scalar::Int(x, _), Data::U32(v)) => v[i] = *x as u32,
            (Scalar::Int(x, _), Data::U16(v)) => v[i] = *x as u16,
            (Scalar::Int(x, _), Data::U8(v) | Data::U4(v) | Data::U2(v)) => v[i] = *x as u8,
            (Scalar::Bool(x), Data::Bool(v)) => v[i] = *x,
            (Scalar::Text(x), Data::String(v)) => v[i].clone_from(x),
            (_, data) => return Err(OpError(format!("cannot store {self:?} as {}", data.dtype()))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for &op in ScalarOp::ALL {
            assert_eq!(ScalarOp::from_name(op.name()), Some(op));
        }
    }

    #[test]
    fn integers_wrap_at_their_width() {
        let int = |x, ty| Scalar::Int(x, ty);
        let add = |a, b, ty| ScalarOp::Add.eval(&[int(a, ty), int(b, ty)]);
        assert_eq!(add(127, 1, DType::I8), Ok(int(-128, DType::I8)));
        assert_eq!(add(255, 1, DType::U8), Ok(int(0, DType::U8)));
        assert_eq!(ScalarOp::Mod.eval(&[int(-7, DType::I32), int(3, DType::I32)]), Ok(int(2, DType::I32)));
        assert_eq!(ScalarOp::Rem.eval(&[int(-7, DType::I32), int(3, DType::I32)]), Ok(int(-1, DType::I32)));
    }

    #[test]
    fn dims_compare_where_bounds_decide() {
        let (n, c) = (Dim::symbol("N"), Dim::constant);
        let eval = |op: ScalarOp, a: &Dim, b: &Dim| op.eval_dim(&[a, b]).and_then(|d| d.as_const());
        assert_eq!(eval(ScalarOp::Eq, &n, &c(-1)), Some(0));
        assert_eq!(eval(ScalarOp::Eq, &n, &n), Some(1));
        assert_eq!(eval(ScalarOp::Eq, &n, &c(1)), None);
        assert_eq!(eval(ScalarOp::Lt, &n, &c(0)), Some(0));
        assert_eq!(eval(ScalarOp::Lt, &c(i64::MIN), &c(i64::MIN)), Some(0));
        assert_eq!(eval(ScalarOp::Lt, &c(i64::MIN), &c(i64::MAX)), Some(1));
        assert_eq!(eval(ScalarOp::Ge, &c(i64::MIN), &c(1)), Some(0));
        assert_eq!(eval(ScalarOp::Ge, &(n.clone() + c(1)), &c(1)), Some(1));
        assert_eq!(ScalarOp::Select.eval_dim(&[&c(0), &c(1), &n]), Some(n.clone()));
        let doubled = n.clone() * c(2);
        assert_eq!(ScalarOp::Div.eval_whole(&[&doubled, &c(2)]), Some(n.clone()));
        assert_eq!(ScalarOp::Div.eval_whole(&[&n, &c(2)]), None);
    }

    #[test]
    fn constants_are_computed_as_numbers_are() {
        let values = [i64::MIN, i64::MIN + 1, -(1 << 32), -7, -1, 0, 1, 2, 5, 63, 64, 1 << 62, i64::MAX];
        let int = |x: i64| Scalar::Int(x.into(), DType::I64);
        let value_of = |scalar: Scalar| match scalar {
            Scalar::Int(x, _) => Some(x as i64),
            Scalar::Bool(x) => Some(x.into()),
            _ => None,
        };
        let numbers = |op: &&ScalarOp| !matches!(op.rule(), ResultRule::Bool | ResultRule::Select);
        for &op in ScalarOp::ALL.iter().filter(numbers) {
            for (a, b) in values.iter().flat_map(|&a| values.map(|b| (a, b))) {
                let args = &[a, b][..op.arity()];
                let expected = op.eval(&args.iter().map(|&x| int(x)).collect::<Vec<_>>()).ok().and_then(value_of);
                let dims: Vec<Dim> = args.iter().map(|&x| Dim::constant(x)).collect();
                let found = op.eval_dim(&dims.iter().collect::<Vec<_>>()).map(|dim| dim.as_const());
                assert_eq!(found, expected.map(Some), "{} of {args:?}", op.name());
            }
        }
        let bools = |op: ScalarOp, a: i64, b: i64| op.eval_dim(&[&Dim::constant(a), &Dim::constant(b)]);
        assert_eq!(bools(ScalarOp::And, 1, 0), Some(Dim::constant(0)));
        assert_eq!(bools(ScalarOp::Xor, 1, 0), Some(Dim::constant(1)));
        let n = Dim::symbol("N") - Dim::constant(1);
        assert_eq!(ScalarOp::Sub.eval_dim(&[&n, &Dim::constant(i64::MAX)]), None);
    }

    #[test]
    fn nan_propagates_through_min_and_max() {
        let f = |x| Scalar::F32(x, DType::F32);
        for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
            for op in [ScalarOp::Min, ScalarOp::Max] {
                assert!(matches!(op.eval(&[f(a), f(b)]), Ok(Scalar::F32(x, _)) if x.is_nan()));
            }
        }
    }
}
