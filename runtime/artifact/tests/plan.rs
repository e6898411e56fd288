//! A plan that refers to something that is not there is refused, with the place.

use ic_artifact::*;

fn entry() -> Entry {
    let port = |name: &str| Port { name: name.into(), dtype: 1, shape: vec!["N".into()] };
    Entry { name: "main".into(), inputs: vec![port("x")], outputs: vec![port("y")], symbols: vec![], states: vec![] }
}

/// `y = code(x)` through an arena buffer, in one segment.
fn plan() -> Plan {
    let code = |buffers| Step::Code {
        name: "/Relu".into(),
        function: 0,
        buffers,
        outer: [0, 1],
        cost_ns: 1,
        scratch_bytes: 1,
    };
    Plan {
        symbols: vec![SymbolSource::Input { input: 0, axis: 0 }],
        dims: vec![DimOp::Symbol(0), DimOp::Const(1), DimOp::Const(4), DimOp::Mul(0, 2), DimOp::Const(128)],
        inputs: vec![vec![0]],
        outputs: vec![vec![0]],
        buffers: vec![
            Buffer { bytes: 3, place: Place::Input(0) },
            Buffer { bytes: 3, place: Place::Arena { first: 0, last: 1 } },
            Buffer { bytes: 3, place: Place::Output(0) },
            Buffer { bytes: 4, place: Place::Weight { offset: 128 } },
            Buffer { bytes: 4, place: Place::View { of: 3, offset: 1 } },
        ],
        steps: vec![code(vec![0, 1]), code(vec![1, 2])],
        checks: vec![],
        segments: vec![Segment { dims_end: 5, buffers_end: 5, steps_end: 2 }],
        kernels: vec![],
        functions: vec!["relu".into()],
        states: vec![],
        work: PlanWork {
            dims: vec![DimOp::Mul(3, 4)],
            steps: vec![StepWork { step: 1, operations: 5, is_integer: false, activations: 3, weights: 1 }],
        },
    }
}

fn check(change: impl FnOnce(&mut Plan), expected: &str) {
    let mut plan = plan();
    plan.buffers.pop();
    plan.segments[0].buffers_end = 4;
    change(&mut plan);
    let context = PlanContext { entry: &entry(), states: &[], weight_bytes: 256 };
    let found = plan.check(&context).map_or_else(|e| e.to_string(), |()| "accepted".into());
    assert_eq!(found, expected);
}

#[test]
fn plans_are_checked() {
    check(|_| (), "accepted");
    check(|p| p.dims[3] = DimOp::Mul(0, 3), "dim slot 3: dim slot 3 is not among the 3 defined there");
    check(|p| p.work.dims[0] = DimOp::Mul(3, 5), "work: dim slot 5 is not among the 5 defined there");
    check(|p| p.work.steps[0].weights = 6, "work: dim slot 6 is not among the 6 defined there");
    check(|p| p.work.steps[0].step = 2, "work: step 2 is not among the 2 defined there");
    check(|p| p.work.steps.extend_from_within(..), "work: steps are not in order");
    check(|p| p.inputs[0].push(0), "signature: input `x` has rank 1, its plan 2");
    check(|p| p.inputs[0][0] = 9, "signature: dim slot 9 is not among the 5 defined there");
    check(
        |p| p.states = vec![StateUse { state: 0, before: None, after: None }],
        "states: state 0 is not among the 0 defined there",
    );
    check(
        |p| p.symbols[0] = SymbolSource::State { state: 0, axis: 0 },
        "symbols: symbol 0 is axis 0 of state 0, which does not exist",
    );
    check(
        |p| p.symbols[0] = SymbolSource::Input { input: 0, axis: 1 },
        "symbols: symbol 0 is axis 1 of input 0, which does not exist",
    );
    check(
        |p| p.symbols[0] = SymbolSource::Value { buffer: 1, element: 0 },
        "dim slot 0: symbol 0 is read from buffer 1 before that is written",
    );
    check(
        |p| p.buffers[3].place = Place::Weight { offset: 192 },
        "buffer 3: weights at 192 are unaligned or leave 256 bytes",
    );
    check(
        |p| p.buffers[3].place = Place::Weight { offset: u64::MAX - 63 },
        "buffer 3: weights at 18446744073709551552 are unaligned or leave 256 bytes",
    );
    check(|p| p.buffers[2].place = Place::Input(0), "output 0: it has no buffer");
    check(
        |p| p.buffers[1].place = Place::Arena { first: 1, last: 1 },
        "step 0 (`/Relu`): buffer 1 is alive only from step 1 to 1",
    );
    check(
        |p| p.buffers[1].place = Place::Arena { first: 0, last: 2 },
        "buffer 1: it is alive from step 0 to 2 of 2 steps",
    );
    check(
        |p| p.buffers[1].place = Place::View { of: 2, offset: 1 },
        "buffer 1: buffer 2 is not among the 1 defined there",
    );
    check(|p| p.functions.clear(), "step 0 (`/Relu`): function 0 is not among the 0 defined there");
    check(
        |p| p.steps[1] = Step::Jump { to: 1 },
        "step 1: it continues at step 1, which is not a later one of its segment",
    );
    check(
        |p| p.steps[1] = Step::Jump { to: 3 },
        "step 1: it continues at step 3, which is not a later one of its segment",
    );
    check(|p| p.segments.clear(), "segments: they cover (0, 0, 0) dim slots, buffers and steps of (5, 4, 2)");
    check(|p| p.segments[0].steps_end = 1, "segments: they cover (5, 4, 1) dim slots, buffers and steps of (5, 4, 2)");
}

#[test]
fn views_stay_inside() {
    let context = PlanContext { entry: &entry(), states: &[], weight_bytes: 256 };
    let error = plan().check(&context).unwrap_err();
    assert_eq!(error.to_string(), "buffer 4: it leaves buffer 3, of which it is a view");
}

#[test]
fn dim_programs_round_towards_negative_infinity() {
    let apply =
        |op: fn(u32, u32) -> DimOp, a: i64, b: i64| op(0, 1).apply(&|slot| Some([a, b][slot as usize]), &|_| None);
    for (a, b) in [(7, 2), (-7, 2), (7, -2), (-7, -2), (i64::MIN, 3), (i64::MAX, -3), (6, 3), (-6, 3)] {
        let (quotient, remainder) = (apply(DimOp::FloorDiv, a, b).unwrap(), apply(DimOp::Mod, a, b).unwrap());
        assert_eq!(quotient as i128 * b as i128 + remainder as i128, a as i128);
        assert!(remainder == 0 || (remainder < 0) == (b < 0));
    }
    assert_eq!(apply(DimOp::FloorDiv, i64::MIN, -1), None);
    assert_eq!(apply(DimOp::Mod, i64::MIN, -1), Some(0));
    assert_eq!(apply(DimOp::FloorDiv, 1, 0), None);
    assert_eq!(apply(DimOp::Mod, 1, 0), None);
    assert_eq!(apply(DimOp::Mul, i64::MAX, 2), None);
}

#[test]
fn dim_programs_broadcast() {
    for (a, b, expected) in [(0, 1, 0), (1, 0, 0), (3, 1, 3), (1, 3, 3), (2, 2, 2)] {
        let value = DimOp::Broadcast(0, 1).apply(&|slot| Some([a, b][slot as usize]), &|_| None);
        assert_eq!(value, Some(expected));
    }
}

/// `y = code(code(… x))`, with the counter in buffer 3.
fn check_loop(change: impl FnOnce(&mut Plan), expected: &str) {
    let mut plan = plan();
    let step = plan.steps[0].clone();
    plan.buffers[3] = Buffer { bytes: 4, place: Place::Arena { first: 0, last: 2 } };
    plan.buffers[1].place = Place::Arena { first: 0, last: 3 };
    plan.steps = vec![
        Step::Loop { counter: 3, limit: Some(1), condition: None, end: 3 },
        step,
        Step::Next { to: 0, condition: None },
        Step::Copy { from: 1, to: 2, at: None },
    ];
    plan.segments[0].steps_end = 4;
    plan.buffers.pop();
    plan.segments[0].buffers_end = 4;
    change(&mut plan);
    let context = PlanContext { entry: &entry(), states: &[], weight_bytes: 256 };
    let found = plan.check(&context).map_or_else(|e| e.to_string(), |()| "accepted".into());
    assert_eq!(found, expected);
}

#[test]
fn loops_are_checked() {
    check_loop(|_| (), "accepted");
    check_loop(|p| p.steps[2] = Step::Jump { to: 3 }, "loops: step 2 leaves its loop");
    check_loop(|p| p.steps[2] = p.steps[3].clone(), "loops: the loop at step 0 has no end");
    check_loop(|p| p.steps[0] = p.steps[3].clone(), "loops: step 2 ends no loop");
    check_loop(|p| p.steps[2] = Step::Next { to: 1, condition: None }, "loops: step 2 ends no loop");
    check_loop(
        |p| p.steps[0] = Step::Loop { counter: 3, limit: Some(1), condition: None, end: 1 },
        "loops: the loop at step 0 ends at step 1",
    );
    check_loop(
        |p| p.buffers[1].place = Place::Arena { first: 1, last: 3 },
        "loops: buffer 1 is alive in a part of the loop at step 0",
    );
    check_loop(
        |p| p.steps[0] = Step::Loop { counter: 3, limit: Some(9), condition: None, end: 3 },
        "step 0: dim slot 9 is not among the 5 defined there",
    );
    check_loop(
        |p| p.steps[2] = Step::Next { to: 0, condition: Some(7) },
        "step 2: buffer 7 is not among the 4 defined there",
    );
    let enters = |p: &mut Plan| {
        p.steps.insert(0, Step::Jump { to: 2 });
        p.steps[1] = Step::Loop { counter: 3, limit: Some(1), condition: None, end: 4 };
        p.steps[3] = Step::Next { to: 1, condition: None };
        p.segments[0].steps_end = 5;
    };
    check_loop(enters, "loops: step 0 continues inside of the loop at step 1");
}
