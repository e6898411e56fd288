//! Tells the crate how far Cargo optimizes it: build dependencies are not optimized unless a profile says so.

fn main() {
    let level = std::env::var("OPT_LEVEL").unwrap_or_default();
    println!("cargo::rustc-env=IC_BUILD_OPT_LEVEL={level}");
    println!("cargo::rerun-if-changed=build.rs");
}
