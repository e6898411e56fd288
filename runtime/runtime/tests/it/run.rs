//! Hand-built artifacts run: shapes, threads, branches, states, data-dependent extents, concurrent callers.

use crate::common::*;
use ic_artifact::{DimOp, Plan, PlanWork, StepWork};
use ic_runtime::*;
use std::sync::Arc;

fn load(bytes: &[u8]) -> Model {
    // SAFETY: the test has made the artifact.
    unsafe { Model::from_bytes(bytes, &LoadOptions::new()) }.unwrap()
}

fn f32s(elements: &[f32]) -> Tensor {
    Tensor::from_elements(vec![elements.len()], elements.to_vec())
}

fn ramp(n: usize, start: f32) -> Tensor {
    f32s(&(0..n).map(|i| start + i as f32).collect::<Vec<f32>>())
}

#[test]
fn generated_code_runs_on_every_shape_and_thread_count() {
    let model = load(&artifact(vec![sum()], vec![], &[]));
    assert_eq!((model.target(), model.entries()[0].name.as_str()), (target_name(), "main"));
    for threads in 1..4 {
        let session = model.session(&Options::new().threads(threads)).unwrap();
        for n in [0, 1, 2, 3, 100, 1000, 2, 0] {
            let (a, b) = (ramp(n, 1.0), ramp(n, 0.5));
            let outputs = session.run(&[("a", a.view()), ("b", b.view())]).unwrap();
            let expected: Vec<f32> = (0..n).map(|i| 2.0 + 3.0 * i as f32).collect();
            assert_eq!(outputs["y"], f32s(&expected));
            assert_eq!(session.run(&[("b", b.view()), ("a", a.view())]).unwrap(), outputs, "names, not order, decide");
        }
    }
}

#[test]
fn library_kernels_run_with_an_epilogue() {
    let model = load(&artifact(vec![dense()], vec![], &dense_weights()));
    for isa in ["portable", "avx2", "avx512", "neon"] {
        let Ok(session) = model.session(&Options::new().threads(2).kernels(isa)) else { continue };
        assert_eq!(session.kernels(), isa);
        let x = Tensor::from_elements(vec![2, 3], vec![1.0f32, 2.0, 3.0, -1.0, 0.0, 30.0]);
        let y = &session.run(&[("x", x.view())]).unwrap()[0];
        // x × w = [[22, 28], [149, 178]].
        assert_eq!(*y, Tensor::from_elements(vec![2, 2], vec![22.5f32, 0.0, 100.0, 100.0]));
    }
}

#[test]
fn extents_that_depend_on_data_are_read_between_segments() {
    let model = load(&artifact(vec![prefix()], vec![], &[]));
    let session = model.session(&Options::new().threads(1)).unwrap();
    let x = ramp(5, 1.0);
    let mut outputs = Outputs::new();
    for n in [2, 5, 0, 2] {
        let count = Tensor::scalar(n as i64);
        session.run_into(&[("x", x.view()), ("n", count.view())], &mut outputs).unwrap();
        let expected: Vec<f32> = (0..n).map(|i| 3.0 * (1.0 + i as f32)).collect();
        assert_eq!(outputs["y"], f32s(&expected));
    }
    for (n, expected) in
        [(6, "reach outside"), (-1, "an extent that depends on the data is -1"), (i64::MAX, "overflows")]
    {
        let count = Tensor::scalar(n);
        let error = session.run(&[("x", x.view()), ("n", count.view())]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn branches_run_one_side() {
    let model = load(&artifact(vec![choice()], vec![], &[0.0]));
    let session = model.session(&Options::new().threads(1)).unwrap();
    for (choose, expected) in [(true, 6.0), (false, 3.0)] {
        let outputs = session.run(&[("choose", Tensor::scalar(choose).view()), ("x", f32s(&[3.0]).view())]).unwrap();
        assert_eq!(outputs[0], f32s(&[expected]));
    }
}

#[test]
fn states_outlive_runs_and_are_shared_by_siblings() {
    let entries = vec![sum(), running_total()];
    let model = load(&artifact(entries, vec![total_state()], &[0.0; 2]));
    let main = model.session(&Options::new().threads(1)).unwrap();
    assert_eq!(main.entry().name, "main", "the entry `main` is the default");
    let (first, second) = (main.sibling("running_total").unwrap(), main.sibling("running_total").unwrap());
    let x = f32s(&[1.0, 2.0]);
    for (session, runs) in [(&first, 1.0), (&second, 2.0), (&first, 3.0)] {
        assert_eq!(session.run(&[("x", x.view())]).unwrap()[0], f32s(&[runs, 2.0 * runs]));
    }
    let apart = model.session_entry("running_total", &Options::new().threads(1)).unwrap();
    assert_eq!(apart.run(&[("x", x.view())]).unwrap()[0], x);
    first.clear_states();
    assert_eq!(second.run(&[("x", x.view())]).unwrap()[0], x);
}

#[test]
fn callers_run_at_the_same_time() {
    let model = load(&artifact(vec![sum()], vec![], &[]));
    let pool = Arc::new(ThreadPool::new(2).unwrap());
    let sessions = [(); 2].map(|()| model.session(&Options::new().pool(&pool).cached_shapes(2)).unwrap());
    std::thread::scope(|scope| {
        for caller in 0..4usize {
            let session = &sessions[caller % 2];
            scope.spawn(move || {
                let mut outputs = Outputs::new();
                for round in 0..200 {
                    let n = 1 + (round * 7 + caller * 13) % 90;
                    let (a, b) = (ramp(n, caller as f32), ramp(n, 0.0));
                    session.run_into(&[("a", a.view()), ("b", b.view())], &mut outputs).unwrap();
                    let expected: Vec<f32> = (0..n).map(|i| caller as f32 + 3.0 * i as f32).collect();
                    assert_eq!(outputs[0], f32s(&expected));
                }
            });
        }
    });
    assert!(sessions[0].arena_bytes() > 0);
}

#[test]
fn profiles_name_every_step() {
    let model = load(&artifact(vec![sum()], vec![], &[]));
    let session = model.session(&Options::new().threads(1)).unwrap();
    let (a, mut outputs, mut profile) = (ramp(10, 0.0), Outputs::new(), Profile::new());
    for _ in 0..3 {
        session.run_profiled(&[("a", a.view()), ("b", a.view())], &mut outputs, &mut profile).unwrap();
    }
    let steps: Vec<_> = profile.steps().iter().map(|s| (s.name.as_str(), s.kernel.as_str(), s.calls)).collect();
    assert_eq!(steps, [("/Add", "add", 3), ("/Add_1", "add", 3)]);
    assert_eq!(profile.to_string().lines().count(), 3);
}

#[test]
fn profiles_say_how_much_steps_do() {
    let (entry, plan) = sum();
    let n_dims = plan.dims.len() as u32;
    // Slot 0 is N, slot 2 its bytes.
    let work = PlanWork {
        dims: vec![DimOp::Const(3), DimOp::Mul(n_dims, 2)],
        steps: vec![StepWork { step: 1, operations: 0, is_integer: false, activations: n_dims + 1, weights: n_dims }],
    };
    let model = load(&artifact(vec![(entry, Plan { work, ..plan })], vec![], &[]));
    let session = model.session(&Options::new().threads(1)).unwrap();
    let (mut outputs, mut profile) = (Outputs::new(), Profile::new());
    for n in [10, 7] {
        let a = ramp(n, 0.0);
        session.run_profiled(&[("a", a.view()), ("b", a.view())], &mut outputs, &mut profile).unwrap();
        let work = Work { operations: n as u64, is_integer: false, activations: 12 * n as u64, weights: 3 };
        assert_eq!(profile.steps().iter().map(|step| step.work).collect::<Vec<_>>(), [None, Some(work)]);
    }
}
