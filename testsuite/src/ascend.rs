//! Ascend kernels without hardware: their text runs on this CPU, and the vendor's compiler takes it as far as it goes
//! without CANN.

mod artifact;
mod driver;
mod tools;

/// What contractions must call once the vendor's compiler has taken them: the way through the cube unit.
pub const CUBE_CALLS: &[&str] = &["@nd2nz_", "@mma_tile_", "@fixpipe_"];

pub use artifact::{Ran, run_plan};
pub use driver::Call;
pub use tools::{Tools, Verdict};
