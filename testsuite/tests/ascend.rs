//! Ascend kernels of the graphs in `ascend/*.ic` and `programs/*.ic`, run three ways against the graph's evaluator.
//!
//! The tree of each kernel always runs in its interpreter. Its text runs on this CPU where the tools are: the vendor's
//! spelling lowered by `bishengir-opt`, upstream's by `mlir-opt` of LLVM 22; and `bishengir-compile` takes each kernel as
//! far as it goes without CANN. `ascend/run.sh` fetches the tools and runs everything.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "ascend/machine.rs"]
mod machine;

use ic_codegen::AscendTarget;
use ic_codegen::ascend::{AscendKernel, Spelling, eval_kernel};
use ic_ir::kernel::Kernel;
use ic_testsuite::ascend::{Call, Tools, Verdict};
use ic_types::{DType, Data, Tensor};
use machine::{Case, Params, Work, cases, check, programs};

const FILES: &[&str] = &["pointwise", "rows", "movement", "contraction", "models", "symbolic"];

fn all_cases() -> impl Iterator<Item = Case> {
    FILES.iter().flat_map(|file| cases(file)).chain(programs())
}

/// The tools, or a line that says that they are missing.
fn tools() -> Option<Tools> {
    use std::io::Write;
    let tools = Tools::find().unwrap();
    if tools.is_none() {
        // Printed although the test passes.
        let text = "skipped: needs the vendor's compiler and MLIR 22; testsuite/ascend/run.sh fetches them";
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    tools
}

#[test]
fn the_trees_compute_what_the_graphs_do() {
    for case in all_cases() {
        for target in AscendTarget::ALL {
            if *target == AscendTarget::A310p && case.needs_f32_contractions {
                continue;
            }
            check(&case, *target, &mut |work, params| eval_kernel(&work.bound(), params).unwrap());
        }
    }
}

#[test]
fn the_vendors_spelling_computes_what_the_graphs_do() {
    tools().iter().for_each(|tools| run_text(tools, Spelling::Vendor));
}

#[test]
fn upstreams_spelling_computes_what_the_graphs_do() {
    tools().iter().for_each(|tools| run_text(tools, Spelling::Upstream));
}

fn run_text(tools: &Tools, spelling: Spelling) {
    let mut number = 0;
    for case in all_cases() {
        check(&case, AscendTarget::A910b, &mut |work, params| {
            number += 1;
            let name = format!("{}_{number}", case.graph.name);
            run_kernel(tools, &name, work, spelling, params);
        });
    }
}

fn run_kernel(tools: &Tools, name: &str, work: &Work, spelling: Spelling, params: Params) {
    let text = work.kernel.text(work.source, name, spelling);
    let buffers = work.kernel.arguments().into_iter().map(|param| param as usize).collect();
    let (dims, grid) = (work.values(&work.kernel.launch_dims()), work.values(&work.kernel.grid()));
    let call = Call { name, text: &text, buffers, dims, grid: grid.try_into().unwrap() };
    let mut memory: Vec<Vec<u8>> = params.iter().map(|param| param.data().to_le_bytes()).collect();
    tools.run(&call, spelling, &mut memory).unwrap_or_else(|e| panic!("{e:?}"));
    for (param, bytes) in params.iter_mut().zip(memory) {
        let data = Data::from_le_bytes(param.dtype(), &bytes).unwrap();
        *param = Tensor::new(vec![data.len()], data);
    }
}

#[test]
fn the_vendors_compiler_takes_every_kernel() {
    let Some(tools) = tools() else { return };
    let (mut failures, mut number) = (Vec::new(), 0);
    for case in all_cases() {
        check(&case, AscendTarget::A910b, &mut |work, params| {
            number += 1;
            let name = format!("{}_{number}", case.graph.name);
            let text = work.kernel.text(work.source, "kernel", Spelling::Vendor);
            match tools.compile(&name, &text, &work.kernel.compiler_options(AscendTarget::A910b)).unwrap() {
                Verdict::Compiled(text) => failures.extend(what_is_missing(&name, work.kernel, &text)),
                Verdict::Refused(step, log) => failures.push(format!("{name}: {step}:\n{log}")),
            }
            eval_kernel(&work.bound(), params).unwrap();
        });
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Upstream's spelling of every kernel is taken by MLIR in this process.
#[cfg(feature = "mlir")]
#[test]
fn upstreams_spelling_is_lowered_in_process() {
    let mut number = 0;
    for case in all_cases() {
        check(&case, AscendTarget::A910b, &mut |work, params| {
            number += 1;
            let name = format!("{}_{number}", case.graph.name);
            let text = work.kernel.text(work.source, &name, Spelling::Upstream);
            let lowered = ic_codegen::ascend::lower_in_process(&name, &text);
            let lowered = lowered.unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert!(lowered.contains(&format!("llvm.func @{name}(")), "{lowered}");
            let broken = text.replacen("-> tensor<", "-> tensor<3x", 1).replacen("memref<?x", "memref<?x?x", 1);
            if broken != text {
                let error = ic_codegen::ascend::lower_in_process(&name, &broken).unwrap_err();
                assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
            }
            eval_kernel(&work.bound(), params).unwrap();
        });
    }
}

/// What a contraction must have become: operands in the cube unit's layout, products there, results moved out.
fn what_is_missing(name: &str, kernel: &AscendKernel, text: &str) -> Vec<String> {
    let AscendKernel::Cube(cube) = kernel else { return Vec::new() };
    let calls = ic_testsuite::ascend::CUBE_CALLS.iter();
    let mut missing: Vec<String> =
        calls.filter(|call| !text.contains(**call)).map(|call| format!("{name}: no {call}")).collect();
    if cube.is_mixed() && !text.contains("_mix_aiv(") {
        missing.push(format!("{name}: no vector part"));
    }
    missing
}

/// What cannot be compiled is refused by name.
#[test]
fn what_has_no_kernel_is_refused() {
    let refused = |dtype: DType, target: AscendTarget| {
        let param = |is_output| ic_ir::kernel::Param { dtype, shape: vec![4.into()], is_output };
        let kernel = Kernel { params: vec![param(false), param(true)], outer: vec![], stages: vec![] };
        ic_codegen::ascend::lower_kernel(&kernel, target).err()
    };
    assert_eq!(refused(DType::F64, AscendTarget::A910b).as_deref(), Some("element type f64"));
    assert_eq!(refused(DType::BF16, AscendTarget::A910b), None);
    assert_eq!(refused(DType::BF16, AscendTarget::A310p).as_deref(), Some("element type bf16"));
}
