//! What the user decides about optimization.

use crate::egraph::extract::Extraction;
use ic_ir::Literal;
use ic_types::DType;

/// Which rewrites of floating-point arithmetic are allowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum FpMode {
    /// Only rewrites that keep every bit.
    Strict,
    /// Also rewrites that round differently, as sums in another order do.
    #[default]
    Default,
    /// Also approximations that are as good as the model's own arithmetic.
    Fast,
}

/// What the factors of f32 contractions, and embeddings, are rounded to. Sums are f32 in any case.
///
/// Where contractions of 16-bit floats are widened ([`Options::native_halves`]), weights alone are rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// As the model has them.
    #[default]
    F32,
    /// Rounded to IEEE binary16.
    F16,
    /// Rounded to bfloat16.
    BF16,
}

impl Precision {
    /// The 16-bit type that it rounds to.
    pub fn half(self) -> Option<DType> {
        match self {
            Precision::F32 => None,
            Precision::F16 => Some(DType::F16),
            Precision::BF16 => Some(DType::BF16),
        }
    }
}

/// What weights of f32 matrix products are stored in, with scales.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntegerWeights {
    /// 8 bits, a scale for each column.
    I8,
    /// 4 bits, a scale for each 128 elements of a column.
    I4,
}

/// How the weight of one matrix product is stored as integers.
#[derive(Clone, PartialEq, Debug)]
pub enum Rounded {
    /// Rounded to nearest.
    Nearest(IntegerWeights),
    /// 4-bit integers that were chosen by what the product multiplies: i4 `[K, N]`, with scales f32
    /// `[ceil(K / group), N]`.
    Chosen {
        /// The integers.
        integers: Literal,
        /// A scale for each group of elements of a column.
        scales: Literal,
    },
}

/// What the user decides about optimization.
#[derive(Clone, Debug)]
pub struct Options {
    /// 0 runs only what lowering needs, 3 searches longest.
    pub opt_level: u8,
    /// Which floating-point rewrites are allowed.
    pub fp: FpMode,
    /// What weights are stored in.
    pub precision: Precision,
    /// What integers weights are stored in; none if they stay floats.
    pub integer_weights: Option<IntegerWeights>,
    /// How each of the weights that are stored as integers is, in the order of the outermost graph's products; those that
    /// it does not reach are rounded to nearest.
    pub rounded: Vec<Rounded>,
    /// Whether the targets have contractions of 16-bit floats, so that they keep their types.
    pub native_halves: bool,
    /// Whether every target is a CPU, which has kernels for attention, for mixtures of experts, and for convolutions in either
    /// layout.
    pub native_compounds: bool,
    /// Whether every target has a kernel for attention of 16-bit floats.
    pub flash_attention: bool,
    /// How the nodes of an e-graph are chosen.
    pub extraction: Extraction,
    /// Rounds of equality saturation.
    pub iterations: usize,
    /// Nodes that one e-graph may hold.
    pub e_nodes: usize,
    /// Nodes that one e-graph starts with at most: longer graphs are cut.
    pub stretch: usize,
    /// Whether blocks that repeat are searched once. The result is the same either way.
    pub reuse: bool,
    /// Whether the report says by which rules the search came to what it chose.
    pub explain: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            opt_level: 2,
            fp: FpMode::Default,
            precision: Precision::F32,
            integer_weights: None,
            rounded: Vec::new(),
            native_halves: false,
            native_compounds: true,
            flash_attention: false,
            extraction: Extraction::Cheapest,
            iterations: 12,
            e_nodes: 60_000,
            stretch: 1500,
            reuse: true,
            explain: false,
        }
    }
}
