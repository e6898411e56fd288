//! The elementwise functions of the tree, in one table: how each is computed and written in both spellings.
//!
//! The vendor's spelling has one name per function and operand kind; upstream's is a scalar operation in the body of a
//! `linalg.generic`. Only what the vendor's compiler accepts is here; `scalar` composes everything else.

use ic_ir::scalar::ScalarOp;

/// A name in the vendor's spelling: the dialect of the named op, and the function.
pub(crate) type Vendor = (&'static str, &'static str);

macro_rules! functions {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $variant:ident = $scalar:ident,
        $vendor:expr, $float:expr, $int:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$fdoc])* $variant,)*
        }

        impl $name {
            /// Every function.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The scalar function that defines it.
            pub fn scalar(self) -> ScalarOp {
                match self { $($name::$variant => ScalarOp::$scalar,)* }
            }

            /// The tree's function for a scalar function, if there is one.
            pub(crate) fn of(op: ScalarOp) -> Option<$name> {
                match op { $(ScalarOp::$scalar => Some($name::$variant),)* _ => None }
            }

            /// The vendor's name.
            pub(crate) fn vendor(self) -> Vendor {
                match self { $($name::$variant => $vendor,)* }
            }

            /// Upstream's scalar operation on floats; empty if there is none.
            pub(crate) fn on_floats(self) -> &'static str {
                match self { $($name::$variant => $float,)* }
            }

            /// Upstream's scalar operation on integers; empty if there is none.
            pub(crate) fn on_ints(self) -> &'static str {
                match self { $($name::$variant => $int,)* }
            }
        }
    };
}

functions! {
    /// A function of one tensor.
    UnaryFn {
        /// `-a`.
        Neg = Neg, ("linalg", "negf"), "arith.negf", "";
        /// Magnitude.
        Abs = Abs, ("linalg", "abs"), "math.absf", "";
        /// Rounds towards negative infinity.
        Floor = Floor, ("linalg", "floor"), "math.floor", "";
        /// Rounds towards positive infinity.
        Ceil = Ceil, ("linalg", "ceil"), "math.ceil", "";
        /// Square root.
        Sqrt = Sqrt, ("hfusion", "sqrt"), "math.sqrt", "";
        /// `1 / a`.
        Reciprocal = Reciprocal, ("hfusion", "rec"), "", "";
        /// `e^a`.
        Exp = Exp, ("linalg", "exp"), "math.exp", "";
        /// Natural logarithm.
        Log = Log, ("linalg", "log"), "math.log", "";
        /// Error function.
        Erf = Erf, ("hfusion", "erf"), "math.erf", "";
        /// Hyperbolic tangent.
        Tanh = Tanh, ("hfusion", "tanh"), "math.tanh", "";
        /// Sine.
        Sin = Sin, ("hfusion", "sin"), "math.sin", "";
        /// Cosine.
        Cos = Cos, ("hfusion", "cos"), "math.cos", "";
        /// Tangent.
        Tan = Tan, ("hfusion", "tan"), "math.tan", "";
        /// Arc sine.
        Asin = Asin, ("hfusion", "asin"), "math.asin", "";
        /// Arc cosine.
        Acos = Acos, ("hfusion", "acos"), "math.acos", "";
        /// Arc tangent.
        Atan = Atan, ("hfusion", "atan"), "math.atan", "";
    }
}

functions! {
    /// A function of two tensors, or of a tensor and a number.
    BinaryFn {
        /// `a + b`.
        Add = Add, ("linalg", "add"), "arith.addf", "arith.addi";
        /// `a - b`.
        Sub = Sub, ("linalg", "sub"), "arith.subf", "arith.subi";
        /// `a * b`.
        Mul = Mul, ("linalg", "mul"), "arith.mulf", "arith.muli";
        /// `a / b` of floats.
        Div = Div, ("linalg", "div"), "arith.divf", "";
        /// The larger; NaN if either is NaN.
        Max = Max, ("linalg", "max_signed"), "arith.maximumf", "arith.maxsi";
        /// The smaller; NaN if either is NaN.
        Min = Min, ("linalg", "min_signed"), "arith.minimumf", "arith.minsi";
        /// `a^b` of floats.
        Pow = Pow, ("hfusion", "powf"), "math.powf", "";
        /// Logical and.
        And = And, ("hfusion", "vand"), "", "arith.andi";
        /// Logical or.
        Or = Or, ("hfusion", "vor"), "", "arith.ori";
        /// Logical exclusive or.
        Xor = Xor, ("hfusion", "vxor"), "", "arith.xori";
    }
}

functions! {
    /// A comparison.
    CompareFn {
        /// `a == b`.
        Eq = Eq, ("hfusion", "veq"), "oeq", "eq";
        /// `a != b`; true of NaN.
        Ne = Ne, ("hfusion", "vne"), "une", "ne";
        /// `a < b`.
        Lt = Lt, ("hfusion", "vlt"), "olt", "slt";
        /// `a <= b`.
        Le = Le, ("hfusion", "vle"), "ole", "sle";
        /// `a > b`.
        Gt = Gt, ("hfusion", "vgt"), "ogt", "sgt";
        /// `a >= b`.
        Ge = Ge, ("hfusion", "vge"), "oge", "sge";
    }
}

/// How a fold combines elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoldFn {
    /// Sum.
    Add,
    /// Product.
    Mul,
    /// Largest; NaN if any is NaN.
    Max,
    /// Smallest; NaN if any is NaN.
    Min,
}

impl FoldFn {
    /// The function of two elements.
    pub(crate) fn binary(self) -> BinaryFn {
        match self {
            FoldFn::Add => BinaryFn::Add,
            FoldFn::Mul => BinaryFn::Mul,
            FoldFn::Max => BinaryFn::Max,
            FoldFn::Min => BinaryFn::Min,
        }
    }
}
