//! Targets: what `--target` takes, and the classes of targets that share a plan.

use crate::cpu::CpuTarget;
use std::fmt;

/// An architecture that code is generated for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// A CPU.
    Cpu(CpuTarget),
    /// An NVIDIA GPU.
    Nvptx(NvptxTarget),
    /// An Ascend NPU.
    Ascend(AscendTarget),
}

/// A compute capability of NVIDIA GPUs. The suffix `a` marks features that later ones do not have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NvptxTarget {
    /// Ampere: A100.
    Sm80,
    /// Ada: L4, RTX 4090.
    Sm89,
    /// Hopper: H100, H20.
    Sm90a,
    /// Blackwell: B200.
    Sm100a,
}

impl NvptxTarget {
    /// Every compute capability.
    pub const ALL: &[NvptxTarget] = &[NvptxTarget::Sm80, NvptxTarget::Sm89, NvptxTarget::Sm90a, NvptxTarget::Sm100a];

    /// As PTX's `.target` spells it.
    pub fn arch(self) -> &'static str {
        match self {
            NvptxTarget::Sm80 => "sm_80",
            NvptxTarget::Sm89 => "sm_89",
            NvptxTarget::Sm90a => "sm_90a",
            NvptxTarget::Sm100a => "sm_100a",
        }
    }
}

/// A series of Ascend NPUs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AscendTarget {
    /// Atlas A2: separate cube and vector cores.
    A910b,
    /// Atlas 300I: cube and vector units in one core.
    A310p,
}

/// Targets that share one plan per entry and one form of code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TargetClass {
    /// CPUs.
    Cpu,
    /// NVIDIA GPUs.
    Nvptx,
    /// Ascend NPUs.
    Ascend,
}

impl TargetClass {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            TargetClass::Cpu => "cpu",
            TargetClass::Nvptx => "nvptx",
            TargetClass::Ascend => "ascend",
        }
    }
}

/// The names of targets. `cpu`, this host, is none of them.
const NAMES: &[(&str, Target)] = &[
    ("x86-64-v2", Target::Cpu(CpuTarget::X86V2)),
    ("x86-64-v3", Target::Cpu(CpuTarget::X86V3)),
    ("x86-64-v4", Target::Cpu(CpuTarget::X86V4)),
    ("aarch64", Target::Cpu(CpuTarget::Aarch64)),
    ("nvptx:sm_80", Target::Nvptx(NvptxTarget::Sm80)),
    ("nvptx:sm_89", Target::Nvptx(NvptxTarget::Sm89)),
    ("nvptx:sm_90a", Target::Nvptx(NvptxTarget::Sm90a)),
    ("nvptx:sm_100a", Target::Nvptx(NvptxTarget::Sm100a)),
    ("ascend:910b", Target::Ascend(AscendTarget::A910b)),
    ("ascend:310p", Target::Ascend(AscendTarget::A310p)),
];

impl Target {
    /// Every target.
    pub fn all() -> impl Iterator<Item = Target> {
        NAMES.iter().map(|&(_, target)| target)
    }

    /// As `--target` and the manifest spell it.
    pub fn name(self) -> &'static str {
        let found = NAMES.iter().find(|(_, target)| *target == self);
        found.map_or("?", |(name, _)| name)
    }

    /// The target that `--target` calls `name`. `cpu` is what this host can run best.
    pub fn from_name(name: &str) -> Option<Target> {
        match name {
            "cpu" => CpuTarget::host().map(Target::Cpu),
            _ => NAMES.iter().find(|(known, _)| *known == name).map(|&(_, target)| target),
        }
    }

    /// The best CPU target that this host runs.
    pub fn host() -> Option<Target> {
        CpuTarget::host().map(Target::Cpu)
    }

    /// The class that it belongs to.
    pub fn class(self) -> TargetClass {
        match self {
            Target::Cpu(_) => TargetClass::Cpu,
            Target::Nvptx(_) => TargetClass::Nvptx,
            Target::Ascend(_) => TargetClass::Ascend,
        }
    }

    /// CPU features that the code uses, by Rust's `target_feature` names; none for a device.
    pub fn cpu_features(self) -> &'static [&'static str] {
        match self {
            Target::Cpu(cpu) => cpu.features(),
            Target::Nvptx(_) | Target::Ascend(_) => &[],
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for target in Target::all() {
            assert_eq!(Target::from_name(target.name()), Some(target));
            if let Target::Cpu(cpu) = target {
                assert_eq!(cpu.name(), target.name());
            }
            if let Target::Nvptx(gpu) = target {
                assert_eq!(format!("nvptx:{}", gpu.arch()), target.name());
            }
        }
        assert_eq!(Target::all().filter(|t| t.class() == TargetClass::Cpu).count(), CpuTarget::ALL.len());
        assert_eq!(Target::from_name("nvptx:sm_1"), None);
    }
}
