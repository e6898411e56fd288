//! CPU targets: names, the features that code for them uses, and the code generator's settings.

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};

/// A class of CPUs that code is generated for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CpuTarget {
    /// x86-64 with SSE4.2.
    X86V2,
    /// x86-64 with AVX2 and FMA.
    X86V3,
    /// x86-64 with AVX-512. Its generated code is that of v3; the kernels differ.
    X86V4,
    /// AArch64 with Advanced SIMD.
    Aarch64,
}

impl CpuTarget {
    /// Every target.
    pub const ALL: &[CpuTarget] = &[CpuTarget::X86V2, CpuTarget::X86V3, CpuTarget::X86V4, CpuTarget::Aarch64];

    /// As `--target` spells it.
    pub fn name(self) -> &'static str {
        match self {
            CpuTarget::X86V2 => "x86-64-v2",
            CpuTarget::X86V3 => "x86-64-v3",
            CpuTarget::X86V4 => "x86-64-v4",
            CpuTarget::Aarch64 => "aarch64",
        }
    }

    /// The target that `--target` calls `name`. `cpu` is what this host can run best.
    pub fn from_name(name: &str) -> Option<CpuTarget> {
        match name {
            "cpu" => CpuTarget::host(),
            _ => CpuTarget::ALL.iter().copied().find(|target| target.name() == name),
        }
    }

    /// The best target that this host runs.
    pub fn host() -> Option<CpuTarget> {
        use ic_kernels::isa::Isa;
        match (std::env::consts::ARCH, Isa::detect()) {
            ("x86_64", Isa::Avx512) => Some(CpuTarget::X86V4),
            ("x86_64", Isa::Avx2) => Some(CpuTarget::X86V3),
            ("x86_64", _) => Some(CpuTarget::X86V2),
            ("aarch64", _) => Some(CpuTarget::Aarch64),
            _ => None,
        }
    }

    /// CPU features that the code uses, by Rust's `target_feature` names.
    pub fn features(self) -> &'static [&'static str] {
        match self {
            CpuTarget::X86V2 => &["sse3", "ssse3", "sse4.1", "sse4.2", "popcnt"],
            CpuTarget::X86V3 => &["avx", "avx2", "fma", "bmi1", "bmi2", "lzcnt", "popcnt"],
            CpuTarget::X86V4 => &["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "bmi1", "bmi2"],
            CpuTarget::Aarch64 => &["neon"],
        }
    }

    /// The target whose generated code this one uses.
    pub(crate) fn code(self) -> CpuTarget {
        match self {
            CpuTarget::X86V4 => CpuTarget::X86V3,
            other => other,
        }
    }

    /// The code generator for this target.
    pub(crate) fn isa(self) -> Result<OwnedTargetIsa, String> {
        let (triple, preset) = match self {
            CpuTarget::X86V2 => ("x86_64-unknown-linux-gnu", Some("x86-64-v2")),
            CpuTarget::X86V3 | CpuTarget::X86V4 => ("x86_64-unknown-linux-gnu", Some("x86-64-v3")),
            CpuTarget::Aarch64 => ("aarch64-unknown-linux-gnu", None),
        };
        let mut shared = settings::builder();
        // A probe of the stack or an unwind table would need a linker.
        for (name, value) in [
            ("opt_level", "speed"),
            ("enable_probestack", "false"),
            ("unwind_info", "false"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ] {
            shared.set(name, value).map_err(|e| e.to_string())?;
        }
        let mut builder = isa::lookup_by_name(triple).map_err(|e| e.to_string())?;
        if let Some(preset) = preset {
            builder.enable(preset).map_err(|e| e.to_string())?;
        }
        if self.code() == CpuTarget::X86V3 {
            // The preset leaves out what its other features imply.
            builder.enable("has_avx").map_err(|e| e.to_string())?;
        }
        builder.finish(settings::Flags::new(shared)).map_err(|e| e.to_string())
    }
}
