//! What a profiler would count.

use std::ops::AddAssign;

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Kinds of instructions in the mix.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Class {
            $($(#[$doc])* $variant,)*
        }

        impl Class {
            /// Every class.
            pub const ALL: &[Class] = &[$(Class::$variant,)*];

            /// A word for it.
            pub fn name(self) -> &'static str {
                match self { $(Class::$variant => $name,)* }
            }
        }
    };
}

classes! {
    /// Copies between registers, and selections.
    Move = "move",
    /// Integer and bit arithmetic.
    Integer = "integer",
    /// Float arithmetic.
    Float = "float",
    /// Roots, quotients, exponentials.
    Special = "special",
    /// Comparisons.
    Compare = "compare",
    /// Conversions.
    Convert = "convert",
    /// Reads of parameters.
    Parameter = "parameter",
    /// Accesses to global memory.
    Global = "global",
    /// Accesses to shared memory.
    Shared = "shared",
    /// Asynchronous copies.
    CopyAsync = "copy_async",
    /// `ldmatrix` and `stmatrix`.
    Matrix = "matrix",
    /// `mma`.
    TensorCore = "tensor_core",
    /// Exchanges within a warp.
    Shuffle = "shuffle",
    /// Barriers, fences and waits.
    Barrier = "barrier",
    /// Branches.
    Control = "control",
}

/// What one launch, or several, did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Instructions that warps issued, by [`Class`].
    pub issued: [u64; Class::ALL.len()],
    /// Blocks.
    pub blocks: u64,
    /// Operations on scalar floats, a fused one counted twice.
    pub flops: u64,
    /// Operations of tensor cores, two per product.
    pub tensor_flops: u64,
    /// Requests of warps to global memory.
    pub global_requests: u64,
    /// Sectors of 32 bytes that they touched.
    pub global_sectors: u64,
    /// The fewest that would have held the bytes.
    pub global_sectors_ideal: u64,
    /// Distinct sectors that a launch read: its traffic with a cache that holds all.
    pub sectors_read: u64,
    /// Distinct sectors that a launch wrote.
    pub sectors_written: u64,
    /// Passes over shared memory.
    pub shared_passes: u64,
    /// Those that bank conflicts caused.
    pub bank_conflicts: u64,
    /// Bytes that lanes read from shared memory and wrote to it.
    pub shared_bytes: u64,
    /// Branches at which a warp parted.
    pub divergent_branches: u64,
}

impl Counts {
    /// Instructions of a class.
    pub fn of(&self, class: Class) -> u64 {
        self.issued[class as usize]
    }

    /// All instructions.
    pub fn instructions(&self) -> u64 {
        self.issued.iter().sum()
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.issued.iter_mut().zip(&other.issued).for_each(|(a, b)| *a += b);
        self.blocks += other.blocks;
        self.flops += other.flops;
        self.tensor_flops += other.tensor_flops;
        self.global_requests += other.global_requests;
        self.global_sectors += other.global_sectors;
        self.global_sectors_ideal += other.global_sectors_ideal;
        self.sectors_read += other.sectors_read;
        self.sectors_written += other.sectors_written;
        self.shared_passes += other.shared_passes;
        self.bank_conflicts += other.bank_conflicts;
        self.shared_bytes += other.shared_bytes;
        self.divergent_branches += other.divergent_branches;
    }
}
