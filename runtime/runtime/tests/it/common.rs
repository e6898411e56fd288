//! Hand-built artifacts: plans over a generated function that adds two f32 arrays, and library kernels.

use ic_artifact::*;
use std::io::{Cursor, Write};

/// `buffers[2][i] = buffers[0][i] + buffers[1][i]` for f32 and `i` in the tile's first axis.
#[cfg(target_arch = "x86_64")]
const ADD: &[u8] = &[
    0x4c, 0x8b, 0x07, // mov r8, [rdi]
    0x4c, 0x8b, 0x4f, 0x08, // mov r9, [rdi + 8]
    0x4c, 0x8b, 0x57, 0x10, // mov r10, [rdi + 16]
    0x48, 0x8b, 0x01, // mov rax, [rcx]
    0x4c, 0x8b, 0x59, 0x10, // mov r11, [rcx + 16]
    0x4c, 0x39, 0xd8, // 1: cmp rax, r11
    0x7d, 0x17, // jge 2f
    0xf3, 0x41, 0x0f, 0x10, 0x04, 0x80, // movss xmm0, [r8 + rax * 4]
    0xf3, 0x41, 0x0f, 0x58, 0x04, 0x81, // addss xmm0, [r9 + rax * 4]
    0xf3, 0x41, 0x0f, 0x11, 0x04, 0x82, // movss [r10 + rax * 4], xmm0
    0x48, 0xff, 0xc0, // inc rax
    0xeb, 0xe4, // jmp 1b
    0xc3, // 2: ret
];

/// The same.
#[cfg(target_arch = "aarch64")]
const ADD: &[u8] = &[
    0x05, 0x24, 0x40, 0xa9, // ldp x5, x9, [x0]
    0x0a, 0x08, 0x40, 0xf9, // ldr x10, [x0, #16]
    0x6b, 0x00, 0x40, 0xf9, // ldr x11, [x3]
    0x6c, 0x08, 0x40, 0xf9, // ldr x12, [x3, #16]
    0x7f, 0x01, 0x0c, 0xeb, // 1: cmp x11, x12
    0xea, 0x00, 0x00, 0x54, // b.ge 2f
    0xa0, 0x78, 0x6b, 0xbc, // ldr s0, [x5, x11, lsl #2]
    0x21, 0x79, 0x6b, 0xbc, // ldr s1, [x9, x11, lsl #2]
    0x00, 0x28, 0x21, 0x1e, // fadd s0, s0, s1
    0x40, 0x79, 0x2b, 0xbc, // str s0, [x10, x11, lsl #2]
    0x6b, 0x05, 0x00, 0x91, // add x11, x11, #1
    0xf9, 0xff, 0xff, 0x17, // b 1b
    0xc0, 0x03, 0x5f, 0xd6, // 2: ret
];

pub(crate) const F32: u8 = 1;
pub(crate) const I64: u8 = 7;
pub(crate) const BOOL: u8 = 9;

/// The name of a target that this machine runs.
pub(crate) fn target_name() -> &'static str {
    if cfg!(target_arch = "x86_64") { "x86-64-v2" } else { "aarch64" }
}

pub(crate) fn port(name: &str, dtype: u8, shape: &[&str]) -> Port {
    Port { name: name.into(), dtype, shape: shape.iter().map(|&s| s.into()).collect() }
}

/// A step that adds two arrays of `n` elements, at `cost_ns` each.
pub(crate) fn add(name: &str, buffers: [BufferId; 3], n: DimSlot, one: DimSlot, cost_ns: DimSlot) -> Step {
    Step::Code {
        name: name.into(),
        function: 0,
        buffers: buffers.to_vec(),
        outer: [n, one],
        cost_ns,
        scratch_bytes: one,
    }
}

pub(crate) fn operand(buffer: BufferId, dtype: u8, shape: &[DimSlot]) -> Option<Operand> {
    Some(Operand { buffer, offset: None, dtype, shape: shape.to_vec(), strides: None })
}

/// One segment over the whole plan, and the function `add`.
pub(crate) fn complete(mut plan: Plan) -> Plan {
    if plan.segments.is_empty() {
        let ends = (plan.dims.len() as u32, plan.buffers.len() as u32, plan.steps.len() as u32);
        plan.segments = vec![Segment { dims_end: ends.0, buffers_end: ends.1, steps_end: ends.2 }];
    }
    plan.functions = vec!["add".into()];
    plan
}

/// What stands in for the code of a device.
pub(crate) const DEVICE_CODE: &[u8] = b"code of a device that is not here";

/// An artifact of these entries with these weights, for a device that is not here and for this CPU.
pub(crate) fn artifact(entries: Vec<(Entry, Plan)>, states: Vec<State>, weights: &[f32]) -> Vec<u8> {
    let mut writer = ArtifactWriter::new(Cursor::new(Vec::new())).unwrap();
    let (entries, plans): (Vec<Entry>, Vec<Plan>) = entries.into_iter().map(|(e, p)| (e, complete(p))).unzip();
    let plan_section = writer.plans(&plans).unwrap();
    let code_section = writer.code(&CodeSection { offsets: vec![0; plans.len()], code: ADD.to_vec() }).unwrap();
    let mut packed = writer.weights().unwrap();
    for weight in weights {
        packed.write_all(&weight.to_le_bytes()).unwrap();
    }
    packed.finish().unwrap();
    // Neither of the device's sections can be decoded: nothing may try to.
    let device = (writer.device_code(DEVICE_CODE).unwrap(), writer.plans(&[]).unwrap());
    let target = |name: &str, (code_section, plan_section)| Target {
        name: name.into(),
        code_section,
        plan_section,
        cpu_features: vec![],
    };
    let targets = vec![target("nvptx:sm_80", device), target(target_name(), (code_section, plan_section))];
    let manifest = Manifest { producer: "0.1.0".into(), entries, states, targets, world: 1, ..Manifest::default() };
    writer.manifest(&manifest).unwrap();
    writer.finish_into().unwrap().into_inner()
}

/// `y[N] = a[N] + b[N] + b[N]` through an arena buffer, for N up to 1,000,000.
pub(crate) fn sum() -> (Entry, Plan) {
    let entry = Entry {
        name: "main".into(),
        inputs: vec![port("a", F32, &["N"]), port("b", F32, &["N"])],
        outputs: vec![port("y", F32, &["N"])],
        symbols: vec![SymbolRange { name: "N".into(), min: 0, max: 1_000_000 }],
        states: vec![],
    };
    let plan = Plan {
        symbols: vec![SymbolSource::Input { input: 0, axis: 0 }],
        dims: vec![DimOp::Symbol(0), DimOp::Const(4), DimOp::Mul(0, 1), DimOp::Const(1), DimOp::Const(1000)],
        inputs: vec![vec![0], vec![0]],
        outputs: vec![vec![0]],
        buffers: vec![
            Buffer { bytes: 2, place: Place::Input(0) },
            Buffer { bytes: 2, place: Place::Input(1) },
            Buffer { bytes: 2, place: Place::Arena { first: 0, last: 1 } },
            Buffer { bytes: 2, place: Place::Output(0) },
        ],
        steps: vec![add("/Add", [0, 1, 2], 0, 3, 4), add("/Add_1", [2, 1, 3], 0, 3, 4)],
        ..Plan::default()
    };
    (entry, plan)
}

/// `y[M, 2] = clamp(x[M, 3] × w[3, 2] + bias[2], 0, 100)`; weights are `w` at 0 and `bias` at 64 bytes.
pub(crate) fn dense() -> (Entry, Plan) {
    let entry = Entry {
        name: "dense".into(),
        inputs: vec![port("x", F32, &["M", "3"])],
        outputs: vec![port("y", F32, &["M", "2"])],
        symbols: vec![],
        states: vec![],
    };
    let plan = Plan {
        symbols: vec![SymbolSource::Input { input: 0, axis: 0 }],
        dims: vec![
            DimOp::Symbol(0),
            DimOp::Const(3),
            DimOp::Const(2),
            DimOp::Const(12),
            DimOp::Const(8),
            DimOp::Mul(0, 3),
            DimOp::Mul(0, 4),
            DimOp::Const(24),
        ],
        inputs: vec![vec![0, 1]],
        outputs: vec![vec![0, 2]],
        buffers: vec![
            Buffer { bytes: 5, place: Place::Input(0) },
            Buffer { bytes: 7, place: Place::Weight { offset: 0 } },
            Buffer { bytes: 4, place: Place::Weight { offset: 64 } },
            Buffer { bytes: 6, place: Place::Output(0) },
        ],
        steps: vec![Step::Library {
            name: "/fc/MatMul".into(),
            kernel: 0,
            operands: vec![operand(0, F32, &[0, 1]), operand(1, F32, &[1, 2]), operand(3, F32, &[0, 2])],
            attrs: vec![],
            epilogue: vec![Epilogue::AddColumn(2), Epilogue::Clamp(0.0, 100.0)],
            callback: None,
        }],
        kernels: vec![KernelRef { name: "f32_matmul".into(), layout: 0, revision: 1 }],
        ..Plan::default()
    };
    (entry, plan)
}

/// Weights of [`dense`].
pub(crate) fn dense_weights() -> Vec<f32> {
    let mut weights = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    weights.resize(16, 0.0);
    weights.extend([0.5, -50.0]);
    weights
}

/// `y[n] = (x + x)[..n] + x[..n]` where `n` is a value: the extent of `y` is known only when the sum has been made.
pub(crate) fn prefix() -> (Entry, Plan) {
    let entry = Entry {
        name: "prefix".into(),
        inputs: vec![port("x", F32, &["N"]), port("n", I64, &[])],
        outputs: vec![port("y", F32, &["n"])],
        symbols: vec![],
        states: vec![],
    };
    let plan = Plan {
        symbols: vec![SymbolSource::Input { input: 0, axis: 0 }, SymbolSource::Value { buffer: 1, element: 0 }],
        dims: vec![
            DimOp::Symbol(0),
            DimOp::Const(4),
            DimOp::Mul(0, 1),
            DimOp::Const(1),
            DimOp::Const(8),
            DimOp::Symbol(1),
            DimOp::Mul(5, 1),
            DimOp::Const(0),
        ],
        inputs: vec![vec![0], vec![]],
        outputs: vec![vec![5]],
        buffers: vec![
            Buffer { bytes: 2, place: Place::Input(0) },
            Buffer { bytes: 4, place: Place::Input(1) },
            Buffer { bytes: 2, place: Place::Arena { first: 0, last: 1 } },
            Buffer { bytes: 6, place: Place::View { of: 2, offset: 7 } },
            Buffer { bytes: 6, place: Place::Output(0) },
        ],
        steps: vec![add("/Add", [0, 0, 2], 0, 3, 3), add("/Prefix", [3, 0, 4], 5, 3, 3)],
        checks: vec![],
        segments: vec![
            Segment { dims_end: 5, buffers_end: 3, steps_end: 1 },
            Segment { dims_end: 8, buffers_end: 5, steps_end: 2 },
        ],
        ..Plan::default()
    };
    (entry, plan)
}

/// `y = if choose { x + x } else { x + zero }`, where `zero` is the weight at 0.
pub(crate) fn choice() -> (Entry, Plan) {
    let entry = Entry {
        name: "choice".into(),
        inputs: vec![port("choose", BOOL, &[]), port("x", F32, &["1"])],
        outputs: vec![port("y", F32, &["1"])],
        symbols: vec![],
        states: vec![],
    };
    let plan = Plan {
        dims: vec![DimOp::Const(1), DimOp::Const(4)],
        inputs: vec![vec![], vec![0]],
        outputs: vec![vec![0]],
        buffers: vec![
            Buffer { bytes: 0, place: Place::Input(0) },
            Buffer { bytes: 1, place: Place::Input(1) },
            Buffer { bytes: 1, place: Place::Weight { offset: 0 } },
            Buffer { bytes: 1, place: Place::Output(0) },
        ],
        steps: vec![
            Step::Branch { condition: 0, otherwise: 3 },
            add("/then", [1, 1, 3], 0, 0, 0),
            Step::Jump { to: 4 },
            add("/else", [1, 2, 3], 0, 0, 0),
        ],
        ..Plan::default()
    };
    (entry, plan)
}

/// `total += x; y = total + zero`, where `total` is state 0 and `zero` the weights.
pub(crate) fn running_total() -> (Entry, Plan) {
    let entry = Entry {
        name: "running_total".into(),
        inputs: vec![port("x", F32, &["2"])],
        outputs: vec![port("y", F32, &["2"])],
        symbols: vec![],
        states: vec![],
    };
    let plan = Plan {
        dims: vec![DimOp::Const(2), DimOp::Const(8), DimOp::Const(1)],
        inputs: vec![vec![0]],
        outputs: vec![vec![0]],
        buffers: vec![
            Buffer { bytes: 1, place: Place::Input(0) },
            Buffer { bytes: 1, place: Place::State(0) },
            Buffer { bytes: 1, place: Place::Weight { offset: 0 } },
            Buffer { bytes: 1, place: Place::Output(0) },
        ],
        steps: vec![add("/update", [1, 0, 1], 0, 2, 2), add("/read", [1, 2, 3], 0, 2, 2)],
        ..Plan::default()
    };
    (entry, plan)
}

pub(crate) fn total_state() -> State {
    State { name: "total".into(), dtype: F32, capacity: vec![2], append_axis: None }
}
