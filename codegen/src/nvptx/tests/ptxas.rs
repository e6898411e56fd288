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

#[test]
fn every_kernel_assembles_without_spills() {
    let Some(ptxas) = ptxas() else {
        eprintln!("skipped: no ptxas in IC_PTXAS or PATH");
        return;
    };
    let folder = std::env::temp_dir().join(format!("ic-ptxas-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let products = [Products::F32, Products::Tf32];
    let all = PROGRAMS.iter().flat_map(|program| products.map(|products| (program, products)));
    for ((name, program), products) in all {
        let graph = optimize(
            &text::parse(program).unwrap(),
            &Options { native_halves: true, native_compounds: false, ..Default::default() },
        )
        .unwrap()
        .graph;
        let program = partition(&graph, &PartitionOptions::default()).unwrap();
        let targets = [NvptxTarget::Sm80, NvptxTarget::Sm90a].map(Target::Nvptx);
        for listing in listings(&[Source { program: &program, graph: &graph, products }], &targets).unwrap() {
            let Target::Nvptx(gpu) = listing.target else { panic!("{}", listing.target) };
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
