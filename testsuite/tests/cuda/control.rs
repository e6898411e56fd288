//! Control flow and memory that outlives a run, on a GPU: branches, loops, extents that depend on data, states.

use super::{check, compile_with, device, inputs, load, load_on, views};
use ic::import::ImportOptions;
use ic::pipeline::{self, StatePair};
use ic_ir::eval::{Symbols, eval_graph};
use ic_ir::{SymbolRange, text};
use ic_runtime::{Options, Outputs};
use ic_testsuite::compare;
use ic_types::Tensor;

#[test]
fn branches_are_taken_by_what_the_device_has_computed() {
    let source = "graph @branch(%x: f32[N, 3], %rate: i64[]) {
  %k = constant() {value = i64[] [16]} : i64[]
  %c = eq(%rate, %k) : bool[]
  %y = if(%c, %x) : f32[N, 3] regions {
    graph @then(%a: f32[N, 3]) {
      %0 = softmax(%a) {axis = 1} : f32[N, 3]
      return \"y\" = %0
    }
    graph @else(%a: f32[N, 3]) {
      %0 = neg(%a) : f32[N, 3]
      return \"y\" = %0
    }
  }
  %z = add(%y, %x) : f32[N, 3]
  return \"z\" = %z
}
";
    let (graph, session) = (text::parse(source).unwrap(), load(source).session(&Options::new()).unwrap());
    for (seed, rate) in [(1, 16i64), (2, 8), (3, 16), (4, 8), (5, 16)] {
        let mut inputs = inputs(&graph, &[("N", 5)], seed);
        inputs[1].1 = Tensor::from_elements(vec![], vec![rate]);
        check(&graph, &inputs, &session.run(&views(&inputs)).unwrap(), 1e-5);
    }
}

#[test]
fn loops_go_on_as_long_as_the_device_says() {
    let source = "graph @double(%x: f32[N], %limit: f32[]) {
  %0, %1, %2 = loop(_, %x, %limit) {carried = 1, trips = 4} : f32[N], f32[4, N], i64[1] regions {
    graph @body(%i: i64[], %a: f32[N], %l: f32[]) {
      %0 = add(%a, %a) : f32[N]
      %1 = reduce(%0) {function = max, axes = [0], keep_dims = false} : f32[]
      %2 = lt(%1, %l) : bool[]
      return \"go\" = %2, \"a\" = %0, \"s\" = %a
    }
  }
  return \"y\" = %0, \"n\" = %2
}
";
    let (graph, session) = (text::parse(source).unwrap(), load(source).session(&Options::new()).unwrap());
    let mut outputs = Outputs::new();
    for limit in [0.0f32, 7.0, 100.0] {
        let x = Tensor::from_elements(vec![3], vec![1.0f32, 2.0, 0.5]);
        let inputs = [("x".to_string(), x), ("limit".to_string(), Tensor::from_elements(vec![], vec![limit]))];
        session.run_into(&views(&inputs), &mut outputs).unwrap();
        check(&graph, &inputs, &outputs, 0.0);
    }
}

#[test]
fn extents_that_depend_on_data_are_read_from_the_device() {
    let source = "graph @repeat(%x: f32[N], %n: i64[1]) {
  %one = constant() {value = i64[1] [1]} : i64[1]
  %more = add(%n, %one) : i64[1]
  %y = neg(%x) : f32[N]
  %0 = reshape(%y) {shape = [1, N]} : f32[1, N]
  %1 = expand(%0) {shape = [K, N]} : f32[K, N]
  %2 = reduce(%1) {function = sum, axes = [0], keep_dims = false} : f32[N]
  bind K = %more[0]
  return \"all\" = %1, \"sum\" = %2, \"n\" = %more
}
";
    let (graph, session) = (text::parse(source).unwrap(), load(source).session(&Options::new()).unwrap());
    let mut outputs = Outputs::new();
    for (seed, n) in [(1, 2i64), (2, 40), (3, 0), (4, 40)] {
        let mut inputs = inputs(&graph, &[("N", 6)], seed);
        inputs[1].1 = Tensor::from_elements(vec![1], vec![n]);
        session.run_into(&views(&inputs), &mut outputs).unwrap();
        check(&graph, &inputs, &outputs, 1e-5);
    }
}

/// A cache that grows, and a mean that is replaced.
const STATES: &str = "graph @decode(%past: f32[B, P, 4], %mean: f32[B, 4], %x: f32[B, S, 4]) {
  %present = concat(%past, %x) {axis = 1} : f32[B, P + S, 4]
  %sum = reduce(%present) {function = sum, axes = [1], keep_dims = false} : f32[B, 4]
  %half = constant() {value = f32[] [0.5]} : f32[]
  %both = add(%sum, %mean) : f32[B, 4]
  %next = mul(%both, %half) : f32[B, 4]
  return \"present\" = %present, \"next\" = %next, \"y\" = %both
}
";

#[test]
fn states_stay_in_the_memory_of_the_device() {
    let range = |max| SymbolRange { min: 0, max };
    let ranges = [("P", range(9)), ("B", range(2))].map(|(name, range)| (name.to_string(), range));
    let pair = |input: &str, output: &str| StatePair { input: input.into(), output: output.into() };
    let options = pipeline::Options {
        import: ImportOptions { ranges: ranges.into_iter().collect(), ..ImportOptions::default() },
        states: vec![pair("past", "present"), pair("mean", "next")],
        ..pipeline::Options::default()
    };
    let model = load_on(&compile_with(STATES, &["nvptx:sm_80"], options), &device()).unwrap();
    let (graph, session) = (text::parse(STATES).unwrap(), model.session(&Options::new()).unwrap());
    let mut fork = None;
    for batch in [2, 1] {
        session.clear_states();
        let mut known = vec![
            Tensor::from_elements(vec![batch, 0, 4], Vec::<f32>::new()),
            Tensor::zeros(ic_types::DType::F32, vec![batch, 4]),
        ];
        for (seed, rows) in [(1, 3), (2, 1), (3, 1), (4, 2)] {
            let all = inputs(&graph, &[("B", batch as i64), ("P", 0), ("S", rows)], seed);
            let expected =
                eval_graph(&graph, &[known[0].clone(), known[1].clone(), all[2].1.clone()], &Symbols::new()).unwrap();
            let outputs = session.run(&[("x", all[2].1.view())]).unwrap();
            compare(&expected[2], &outputs["y"], 1e-5).unwrap();
            known = expected[..2].to_vec();
            for (name, expected) in ["past", "mean"].iter().zip(&known) {
                compare(expected, &session.read_state(name).unwrap(), 1e-5).unwrap();
            }
            if seed == 2 {
                fork = Some((session.fork().unwrap(), known.clone()));
            }
        }
        let (fork, mut known) = fork.take().unwrap();
        fork.write_state("mean", &Tensor::from_elements(vec![batch, 4], vec![2.0f32; 4 * batch]).view()).unwrap();
        known[1] = fork.read_state("mean").unwrap();
        assert_eq!(fork.state_length("past").unwrap(), 4);
        let all = inputs(&graph, &[("B", batch as i64), ("P", 0), ("S", 5)], 9);
        let expected =
            eval_graph(&graph, &[known[0].clone(), known[1].clone(), all[2].1.clone()], &Symbols::new()).unwrap();
        compare(&expected[2], &fork.run(&[("x", all[2].1.view())]).unwrap()["y"], 1e-5).unwrap();
        assert!(fork.run(&[("x", all[2].1.view())]).unwrap_err().to_string().contains("state `past` is full"));
    }
}
