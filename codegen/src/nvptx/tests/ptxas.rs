//! NVIDIA's assembler, where it is installed: every kernel assembles with no warning and no spills, and products of
//! halves use tensor cores.
//!
//! `IC_PTXAS` names it, else `PATH` is searched. `pip install nvidia-cuda-nvcc-cu12==12.9.86` brings it:
//! `site-packages/nvidia/cuda_nvcc/bin/ptxas`.

use super::kernels::PROGRAMS;
use crate::backend::{Products, Source};
use crate::nvptx::listings;
use crate::target::{NvptxTarget, Target};
use ic_ir::text;
use ic_passes::{Options, PartitionOptions, optimize, partition};
use std::path::PathBuf;
use std::process::Command;

fn ptxas() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("IC_PTXAS") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|folder| folder.join("ptxas")).find(|path| path.is_file())
}

/// Products and attention of the largest tiles.
const WIDE: &[(&str, &str)] = &[
    (
        "products",
        "graph @products(%a: f16[1536, 512], %b: f16[512, 2560], %c: bf16[N, 4096], %d: bf16[1024, 4096], \
         %r: bf16[N, 1024]) {
  %0 = matmul(%a, %b) : f16[1536, 2560]
  %1 = transpose(%d) {perm = [1, 0]} : bf16[4096, 1024]
  %2 = matmul(%c, %1) : bf16[N, 1024]
  %3 = add(%2, %r) : bf16[N, 1024]
  return \"x\" = %0, \"y\" = %3
}
",
    ),
    (
        "integers",
        "graph @integers(%a: f16[16, 4096], %b: f16[2048, 4096], %c: bf16[N, 4096], %d: bf16[2048, 4096]) {
  %q = constant() {value = i4[4096, 4096] splat 3} : i4[4096, 4096]
  %e = constant() {value = i8[4096, 4096] splat 3} : i8[4096, 4096]
  %s = constant() {value = f16[32, 4096] splat 1} : f16[32, 4096]
  %t = constant() {value = bf16[32, 4096] splat 1} : bf16[32, 4096]
  %u = constant() {value = f16[4096] splat 1} : f16[4096]
  %v = dequantize(%q, %s) {axis = 0, block_size = 128, to = f16} : f16[4096, 4096]
  %w = dequantize(%q, %t) {axis = 0, block_size = 128, to = bf16} : bf16[4096, 4096]
  %x = dequantize(%e, %u) {axis = 1, to = f16} : f16[4096, 4096]
  %0 = matmul(%a, %v) : f16[16, 4096]
  %1 = matmul(%b, %v) : f16[2048, 4096]
  %2 = matmul(%a, %x) : f16[16, 4096]
  %3 = matmul(%b, %x) : f16[2048, 4096]
  %4 = matmul(%c, %w) : bf16[N, 4096]
  %5 = matmul(%d, %w) : bf16[2048, 4096]
  return \"a\" = %0, \"b\" = %1, \"c\" = %2, \"d\" = %3, \"e\" = %4, \"f\" = %5
}
",
    ),
    (
        "attention",
        "graph @attention(%q: f16[4, S, 128], %k: f16[4, 512, 128], %v: f16[4, 512, 128], %x: bf16[S, 128]) {
  %0 = attention(%q, %k, %v) {scale = 0.125} : f16[4, S, 128]
  %1 = reshape(%x) {shape = [S, 2, 64]} : bf16[S, 2, 64]
  %2 = transpose(%1) {perm = [1, 0, 2]} : bf16[2, S, 64]
  %3 = attention(%2, %2, %2) {scale = 0.125, causal = 0} : bf16[2, S, 64]
  return \"x\" = %0, \"y\" = %3
}
",
    ),
    (
        "masks",
        "graph @masks(%q: f16[8, S, 128], %k: f16[8, N, 128], %a: f16[S, N], %x: i32[8, 1, N], %p: bf16[64, S, 80]) {
  %0 = attention(%q, %k, %k, %a) {scale = 0.125, softcap = 2.0, causal = 0} : f16[8, S, 128]
  %c = constant() {value = i32[] [1]} : i32[]
  %1 = lt(%x, %c) : bool[8, 1, N]
  %2 = attention(%q, %k, %k, %1) {scale = 0.125, fill = -1e9} : f16[8, S, 128]
  %3 = attention(%p, %p, %p) {scale = 0.125, causal = 0} : bf16[64, S, 80]
  %4 = attention(%p, %p, %p) {scale = 0.125, softcap = 2.0} : bf16[64, S, 80]
  return \"w\" = %0, \"x\" = %2, \"y\" = %3, \"z\" = %4
}
",
    ),
];

#[test]
fn every_kernel_assembles_without_spills() {
    let Some(ptxas) = ptxas() else {
        eprintln!("skipped: no ptxas in IC_PTXAS or PATH");
        return;
    };
    let folder = std::env::temp_dir().join(format!("ic-ptxas-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let programs = PROGRAMS.iter().chain(WIDE);
    let choices = [(NvptxTarget::Sm80, Products::F32), (NvptxTarget::Sm80, Products::Tf32)];
    let choices =
        choices.into_iter().chain([(NvptxTarget::Sm90a, Products::F32), (NvptxTarget::Sm90a, Products::Tf32)]);
    let all = programs.flat_map(|program| choices.clone().map(move |choice| (program, choice)));
    for ((name, program), (gpu, products)) in all {
        let options =
            Options { native_halves: true, native_compounds: false, flash_attention: true, ..Default::default() };
        let graph = optimize(&text::parse(program).unwrap(), &options).unwrap().graph;
        let program = partition(&graph, &PartitionOptions::default()).unwrap();
        let source = Source { program: &program, graph: &graph, products };
        for listing in listings(&[source], &[Target::Nvptx(gpu)]).unwrap() {
            let file = folder.join(format!("{name}.{}.ptx", gpu.arch()));
            std::fs::write(&file, &listing.module).unwrap();
            let arch = format!("-arch={}", gpu.arch());
            let output = file.with_extension("cubin");
            let done =
                Command::new(&ptxas).args(["-v", "-warn-spills", &arch]).arg(&file).arg("-o").arg(&output).output();
            let done = done.unwrap();
            let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{name} {arch}: {said}");
            assert!(!said.contains("warning"), "{name} {arch}: {said}");
            let spills = said.lines().filter(|line| line.contains("spill"));
            assert!(spills.clone().count() == listing.functions.len(), "{name} {arch}: {said}");
            for line in spills {
                assert!(line.contains("0 bytes spill stores, 0 bytes spill loads"), "{name} {arch}: {line}");
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
