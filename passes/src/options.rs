//! What the user decides about optimization.

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

/// What the user decides about optimization.
#[derive(Clone, Debug)]
pub struct Options {
    /// 0 runs only what lowering needs, 3 searches longest.
    pub opt_level: u8,
    /// Which floating-point rewrites are allowed.
    pub fp: FpMode,
    /// Rounds of equality saturation.
    pub iterations: usize,
    /// Nodes that one e-graph may hold.
    pub e_nodes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { opt_level: 2, fp: FpMode::Default, iterations: 12, e_nodes: 60_000 }
    }
}
