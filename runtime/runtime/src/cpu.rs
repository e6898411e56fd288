//! Which targets this machine runs.

use ic_artifact::Target;

/// Why this machine's CPU cannot run `target`, a CPU target, if it cannot.
pub(crate) fn obstacle(target: &Target) -> Option<String> {
    let architecture = match target.name.starts_with("x86-64") {
        true => "x86_64",
        false => target.name.split('-').next().unwrap_or_default(),
    };
    if architecture != std::env::consts::ARCH {
        return Some(format!("this machine is {}", std::env::consts::ARCH));
    }
    let missing: Vec<&str> =
        target.cpu_features.iter().map(String::as_str).filter(|feature| !has_feature(feature)).collect();
    (!missing.is_empty()).then(|| format!("this machine lacks {}", missing.join(", ")))
}

macro_rules! features {
    ($detect:ident, $($feature:tt)*) => {
        /// Whether this machine has a feature, by Rust's name for it. Unknown ones are absent.
        fn has_feature(name: &str) -> bool {
            match name {
                $($feature => std::arch::$detect!($feature),)*
                _ => false,
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
features! { is_x86_feature_detected,
    "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "fxsr" "cmpxchg16b" "avx" "avx2" "bmi1" "bmi2" "f16c" "fma"
    "lzcnt" "movbe" "xsave" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni" "avx512bf16"
    "avx512fp16" "avx512vbmi" "avx512ifma" "avxvnni"
}

#[cfg(target_arch = "aarch64")]
features! { is_aarch64_feature_detected,
    "neon" "fp" "fp16" "dotprod" "i8mm" "bf16" "fhm" "lse" "rdm" "crc" "aes" "sha2" "sve" "sve2"
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_feature(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_other_machines_are_refused() {
        let target = |name: &str, features: &[&str]| Target {
            name: name.into(),
            code_section: 0,
            plan_section: 0,
            cpu_features: features.iter().map(|&f| f.into()).collect(),
        };
        let (here, other) = match std::env::consts::ARCH {
            "x86_64" => ("x86-64-v2", "aarch64"),
            _ => (std::env::consts::ARCH, "x86-64-v2"),
        };
        assert_eq!(obstacle(&target(here, &[])), None);
        assert_eq!(obstacle(&target(here, &["warp"])).unwrap(), "this machine lacks warp");
        assert!(obstacle(&target(other, &[])).is_some());
    }
}
