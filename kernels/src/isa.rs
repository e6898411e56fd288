//! Instruction sets that kernels are instantiated for, and which of them this machine has.
//!
//! Every instance gives the bits of the portable one, but for f32 products on a matrix unit ([`Isa::Amx`]).

/// An instruction set that the vector kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isa {
    /// Plain Rust: any machine.
    Portable,
    /// x86-64 with AVX2, FMA and F16C (x86-64-v3).
    Avx2,
    /// x86-64 with AVX-512 F, VL, BW and DQ (x86-64-v4).
    Avx512,
    /// The kernels of AVX-512, with Intel's matrix unit (AMX) for f32 products of many rows: they are summed from pieces of 16
    /// bits, nearer to the exact sums than a chain of multiply-adds, but not with its bits.
    Amx,
    /// AArch64 with Advanced SIMD.
    Neon,
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: &[Isa] = &[Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512, Isa::Amx];

    /// The name on command lines and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
        }
    }

    /// The instruction set called `name`, whether or not this machine has it.
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.iter().copied().find(|isa| isa.name() == name)
    }

    /// Whether this machine can run the instances for it.
    pub fn is_supported(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                std::is_x86_feature_detected!("avx2")
                    && std::is_x86_feature_detected!("fma")
                    && std::is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_supported()
                    && std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512vl")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512dq")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => Isa::Avx512.is_supported() && crate::vector::amx::has_bf16(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }

    /// The instruction sets that this machine has, slowest first.
    pub fn supported() -> impl Iterator<Item = Isa> {
        Isa::ALL.iter().copied().filter(|isa| isa.is_supported())
    }

    /// The fastest instruction set that this machine has.
    pub fn fastest() -> Isa {
        Isa::supported().last().unwrap_or(Isa::Portable)
    }

    /// The fastest instruction set that this machine has whose kernels give the bits of the portable ones.
    pub fn detect() -> Isa {
        Isa::supported().filter(|&isa| isa != Isa::Amx).last().unwrap_or(Isa::Portable)
    }
}
