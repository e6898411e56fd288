//! The compiler's targets for Cargo's.

use crate::Error;

/// The targets to compile for on `triple`, best first, where code may use `features`, Cargo's list of the target's CPU
/// features.
///
/// On x86-64 that is `x86-64-v3`, and `x86-64-v2` for older machines unless the features promise AVX2 and FMA: the
/// artifact runs on every machine with SSE 4.2, and uses AVX-512 kernels where there is AVX-512.
///
/// # Errors
/// If the compiler has no target for the triple.
pub(crate) fn targets(triple: &str, features: &str) -> Result<Vec<String>, Error> {
    let has = |feature: &str| features.split(',').any(|f| f == feature);
    let names: &[&str] = match triple.split('-').next() {
        // Generated code follows the System V calling convention.
        _ if triple.contains("windows") || triple.contains("x32") => &[],
        Some("x86_64") if has("avx2") && has("fma") => &["x86-64-v3"],
        Some("x86_64") => &["x86-64-v3", "x86-64-v2"],
        Some("aarch64") => &["aarch64"],
        _ => &[],
    };
    if names.is_empty() {
        return Err(Error::Target { triple: triple.into() });
    }
    Ok(names.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::targets;

    #[test]
    fn targets_follow_the_triple() {
        assert_eq!(targets("x86_64-unknown-linux-gnu", "fxsr,sse,sse2").unwrap(), ["x86-64-v3", "x86-64-v2"]);
        assert_eq!(targets("x86_64-unknown-linux-musl", "avx,avx2,fma,sse").unwrap(), ["x86-64-v3"]);
        assert_eq!(targets("aarch64-apple-darwin", "neon").unwrap(), ["aarch64"]);
        for triple in ["x86_64-pc-windows-msvc", "riscv64gc-unknown-linux-gnu", "wasm32-wasip1"] {
            assert!(targets(triple, "").unwrap_err().to_string().contains(triple));
        }
    }
}
