//! `wgmma` against a scalar model written from the ISA's figures of fragments and of layouts in shared memory (section
//! 9.7.15), and planted bugs of its asynchrony, each of which must be found.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Random, f32s, fault, module, run};
use ic_ptx_emulator::{FaultKind, Format, Rounding};

/// How a factor lies in shared memory.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Bytes of a row of the swizzled pattern; 16 without a swizzle.
    row: usize,
    /// Whether neighbours in memory are along M or N.
    across: bool,
}

/// Bytes between groups of the layouts of this test.
const STRIDE: usize = 1024;
/// Bytes of shared memory of a factor.
const AREA: usize = 1 << 16;

impl Layout {
    /// Bytes between groups along the other axis than `STRIDE`'s.
    fn leading(self) -> usize {
        if self.row == 16 { 16384 } else { 4096 }
    }

    /// Where element `k` of row (or column) `i` is.
    fn place(self, i: usize, k: usize) -> usize {
        // Figures of the swizzled layouts: in row `r` of a pattern of 8, chunk `c` is where `c ^ s` would be.
        let chunk = |r: usize, c: usize| match self.row {
            128 => c ^ r,
            64 => c ^ (r / 2),
            32 => c ^ (r / 4),
            _ => c,
        };
        match (self.across, self.row) {
            (false, 16) => i / 8 * STRIDE + k / 8 * self.leading() + i % 8 * 16 + k % 8 * 2,
            (true, 16) => i / 8 * STRIDE + k / 8 * self.leading() + k % 8 * 16 + i % 8 * 2,
            (false, row) => i / 8 * STRIDE + i % 8 * row + chunk(i % 8, k / 8) * 16 + k % 8 * 2,
            (true, row) => {
                let (block, i) = (i / (row / 2), i % (row / 2));
                block * self.leading() + k / 8 * STRIDE + k % 8 * row + chunk(k % 8, i / 8) * 16 + i % 8 * 2
            }
        }
    }

    /// Steps of K that the pattern of this test has room for.
    fn depth(self) -> usize {
        if self.across || self.row == 16 { 16 } else { self.row / 2 }
    }

    /// The descriptor of 16 steps of K from step `first` on of a matrix at `start`.
    fn descriptor(self, start: usize, first: usize) -> u64 {
        let swizzle = match self.row {
            128 => 1,
            64 => 2,
            32 => 3,
            _ => 0,
        };
        let field = |bytes: usize| (bytes / 16) as u64;
        field(start + first * 2) | field(self.leading()) << 16 | field(STRIDE) << 32 | swizzle << 62
    }
}

/// A kernel of one warpgroup: shared memory is a copy of the first buffer, the accumulators are 1 and then stored.
fn kernel(ty: &str, n: usize, a: &str, b: u64, flags: &str, sides: [&str; 4]) -> String {
    let [fence_memory, fence, wait, rest] = sides;
    let registers: Vec<String> = (0..n / 2).map(|i| format!("%f{i}")).collect();
    let mut body = format!(
        ".reg .b32 %r<20>; .reg .b64 %rd<12>; .reg .f32 %f<128>; .reg .pred %p<4>;
        .shared .align 1024 .b8 shared[{}];
        ld.param.u64 %rd0, [k_p0]; ld.param.u64 %rd1, [k_p1]; ld.param.u64 %rd5, [k_p2];
        mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 2; mad.wide.s32 %rd2, %r0, 4, %rd0;
        $copy:
        ld.global.b32 %r2, [%rd2]; st.shared.b32 [%r1], %r2;
        add.u32 %r1, %r1, 512; add.s64 %rd2, %rd2, 512;
        setp.lt.u32 %p0, %r1, {}; @%p0 bra $copy;
        {fence_memory}
        bar.sync 0;
        mad.wide.s32 %rd3, %r0, 16, %rd5;
        ld.global.v4.b32 {{%r4, %r5, %r6, %r7}}, [%rd3];
        mov.u64 %rd6, {b}; setp.eq.u32 %p1, %r0, %r0;",
        2 * AREA,
        2 * AREA
    );
    registers.iter().for_each(|register| body += &format!("mov.f32 {register}, 0f3F800000;"));
    let operand = if a.starts_with('{') {
        a.to_string()
    } else {
        body += &format!("mov.u64 %rd7, {a};");
        "%rd7".into()
    };
    body += &format!(
        "{fence}
        wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {{{}}}, {operand}, %rd6, %p1, 1, {flags};
        wgmma.commit_group.sync.aligned;
        {rest} {wait}
        mad.wide.s32 %rd4, %r0, {}, %rd1;",
        registers.join(", "),
        2 * n
    );
    for (i, register) in registers.iter().enumerate() {
        body += &format!("st.global.f32 [%rd4+{}], {register};", 4 * i);
    }
    module(&["u64"; 3], &body)
}

const RIGHT: [&str; 4] = ["fence.proxy.async;", "wgmma.fence.sync.aligned;", "wgmma.wait_group.sync.aligned 0;", ""];

struct Case {
    format: Format,
    n: usize,
    /// Where A is in shared memory, if it is.
    a: Option<Layout>,
    b: Layout,
    negated: bool,
}

/// Random factors of a case: A's rows, B's columns, each of `depth` steps.
fn factors(case: &Case, depth: usize) -> [Vec<f64>; 2] {
    let random = &mut Random((case.n + depth) as u64);
    let mut of = |n: usize| (0..n * depth).map(|_| (random.next() % 64) as f64 / 16.0 - 2.0).collect();
    [of(64), of(case.n)]
}

fn half(format: Format, value: f64) -> [u8; 2] {
    (format.encode(value, Rounding::Nearest, false) as u16).to_le_bytes()
}

/// The two buffers that a kernel reads: shared memory, and A as fragments.
fn memory(case: &Case, [a, b]: &[Vec<f64>; 2], depth: usize, first: usize) -> [Vec<u8>; 2] {
    let mut shared = vec![0; 2 * AREA];
    let mut put = |layout: Layout, start: usize, values: &[f64]| {
        for (at, &value) in values.iter().enumerate() {
            let place = start + layout.place(at / depth, at % depth);
            shared[place..place + 2].copy_from_slice(&half(case.format, value));
        }
    };
    put(case.b, AREA, b);
    case.a.iter().for_each(|&layout| put(layout, 0, a));
    let mut fragments = Vec::new();
    for thread in 0..128 {
        // Figure of `wgmma .m64nNk16` matrix A: row `groupID` + 8 for odd pairs, column + 8 for the last two.
        for i in 0..8 {
            let row = thread / 32 * 16 + thread % 32 / 4 + if i / 2 % 2 == 1 { 8 } else { 0 };
            let k = thread % 4 * 2 + i % 2 + if i >= 4 { 8 } else { 0 };
            fragments.extend(half(case.format, a[row * depth + first + k]));
        }
    }
    [shared, fragments]
}

fn text(case: &Case, first: usize, sides: [&str; 4]) -> String {
    let flag = |across: bool| u8::from(across);
    let sign = if case.negated { -1 } else { 1 };
    let (a, flags) = match case.a {
        Some(layout) => {
            let flags = format!("{sign}, {}, {}", flag(layout.across), flag(case.b.across));
            (layout.descriptor(0, first).to_string(), flags)
        }
        None => ("{%r4, %r5, %r6, %r7}".into(), format!("{sign}, {}", flag(case.b.across))),
    };
    let ty = if case.format == Format::F16 { "f16" } else { "bf16" };
    kernel(ty, case.n, &a, case.b.descriptor(AREA, first), &flags, sides)
}

fn check(case: &Case) {
    let depth = case.a.map_or(case.b.depth(), |a| a.depth().min(case.b.depth()));
    let values = factors(case, depth);
    for first in (0..depth).step_by(16) {
        let [shared, fragments] = memory(case, &values, depth, first);
        let buffers = [shared, vec![0; 128 * case.n * 2], fragments];
        let (counts, found) = run(&text(case, first, RIGHT), 1, 128, &buffers).unwrap();
        assert_eq!(counts.tensor_flops, 2 * 64 * case.n as u64 * 16);
        for (at, result) in f32s(&found[1]).into_iter().enumerate() {
            let (thread, i) = (at / (case.n / 2), at % (case.n / 2));
            // Figure of matrix D: two columns, then two of the row 8 further, then 8 columns further.
            let row = thread / 32 * 16 + thread % 32 / 4 + if i % 4 >= 2 { 8 } else { 0 };
            let column = i / 4 * 8 + thread % 4 * 2 + i % 2;
            let product = |k: usize| values[0][row * depth + k] * values[1][column * depth + k];
            let sum = (first..first + 16).map(product).sum::<f64>();
            let expected = if case.negated { 1.0 - sum } else { 1.0 + sum };
            let layouts = (case.a, case.b);
            assert_eq!(f64::from(result), expected, "{layouts:?}, n {}: row {row}, column {column}", case.n);
        }
    }
}

#[test]
fn layouts_of_factors() {
    let rows = [16, 32, 64, 128];
    for row in rows {
        for across in [false, true] {
            let layout = Layout { row, across };
            let plain = Layout { row: 128, across: false };
            check(&Case { format: Format::F16, n: 64, a: Some(layout), b: plain, negated: false });
            check(&Case { format: Format::F16, n: 128, a: None, b: layout, negated: false });
        }
    }
}

#[test]
fn widths_types_and_signs() {
    let b = Layout { row: 128, across: false };
    for n in [8, 24, 64, 96, 256] {
        check(&Case { format: Format::F16, n, a: None, b, negated: n == 24 });
        check(&Case { format: Format::Bf16, n, a: Some(b), b, negated: n == 8 });
    }
    check(&Case { format: Format::F16, n: 256, a: Some(b), b: Layout { row: 128, across: true }, negated: false });
}

#[test]
fn planted_bugs_of_warpgroups() {
    let layout = Layout { row: 128, across: false };
    let case = Case { format: Format::F16, n: 64, a: None, b: layout, negated: false };
    let values = factors(&case, 64);
    let [shared, fragments] = memory(&case, &values, 64, 0);
    let buffers = [shared, vec![0; 128 * 64 * 2], fragments];
    let [proxy, fence, wait, _] = RIGHT;
    let found = |sides: [&str; 4]| fault(&text(&case, 0, sides), 128, &buffers).kind;
    run(&text(&case, 0, RIGHT), 1, 128, &buffers).unwrap();
    assert_eq!(found(["", fence, wait, ""]), FaultKind::Race, "no proxy fence");
    assert_eq!(found([proxy, "", wait, ""]), FaultKind::ProductInFlight, "no register fence");
    assert_eq!(found([proxy, fence, "", ""]), FaultKind::ProductInFlight, "no wait");
    let one_left = "wgmma.wait_group.sync.aligned 1;";
    assert_eq!(found([proxy, fence, one_left, ""]), FaultKind::ProductInFlight, "waits for too few");
    for write in ["mov.f32 %f3, 0f00000000;", "add.u32 %r5, %r5, 1;"] {
        assert_eq!(found([proxy, fence, wait, write]), FaultKind::ProductInFlight, "{write}");
    }
    let overwrite = format!("st.shared.b32 [{}], %r0;", AREA + 16);
    assert_eq!(found([proxy, fence, wait, &overwrite]), FaultKind::Race, "factors overwritten too early");
    let barrier = text(&case, 0, RIGHT).replace("bar.sync 0;", "");
    let kind = fault(&barrier, 128, &buffers).kind;
    assert!(matches!(kind, FaultKind::Race | FaultKind::Uninitialized), "{kind:?}: no barrier");
    let part = "setp.lt.u32 %p2, %r0, 8; @%p2 wgmma.fence.sync.aligned;";
    assert_eq!(found([proxy, part, wait, ""]), FaultKind::Divergence, "not all lanes");
    // A wrong swizzle gives other numbers.
    let good = run(&text(&case, 0, RIGHT), 1, 128, &buffers).unwrap().1;
    let wrong = Case { b: Layout { row: 64, ..layout }, ..case };
    let bad = run(&text(&wrong, 0, RIGHT), 1, 128, &buffers).unwrap().1;
    assert_ne!(good[1], bad[1]);
}
