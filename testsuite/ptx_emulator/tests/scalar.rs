//! Scalar kernels with results computed by hand, and counts.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{bytes_of, f32s, module, run, u32s};
use ic_ptx_emulator::{Class, Module};

/// The thread's number in `%r0`, and the addresses of its words of two buffers in `%rd2` and `%rd3`.
const START: &str = "
    .reg .b32 %r<20>; .reg .b64 %rd<8>; .reg .f32 %f<8>; .reg .pred %p<4>; .reg .b16 %h<4>;
    ld.param.u64 %rd0, [k_p0]; ld.param.u64 %rd1, [k_p1];
    mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x;
    mad.lo.s32 %r0, %r1, %r2, %r0;
    mad.wide.s32 %rd2, %r0, 4, %rd0; mad.wide.s32 %rd3, %r0, 4, %rd1;";

fn words(n: u32) -> Vec<u8> {
    bytes_of(&(0..n).collect::<Vec<_>>(), u32::to_le_bytes)
}

/// What `body` makes of the words `0 … n - 1` (in `%r3`, the result in `%r4`).
fn map(n: u32, body: &str) -> Vec<u32> {
    let body = format!("{START} ld.global.u32 %r3, [%rd2]; {body} st.global.u32 [%rd3], %r4;");
    let (_, buffers) =
        run(&module(&["u64", "u64"], &body), n.div_ceil(64), 64, &[words(n), vec![0; 4 * n as usize]]).unwrap();
    u32s(&buffers[1])
}

#[test]
fn integers_by_hand() {
    let all = |body: &str, f: fn(u32) -> u32| {
        assert_eq!(map(64, body), (0..64).map(f).collect::<Vec<_>>(), "{body}");
    };
    all("add.s32 %r4, %r3, -7;", |x| x.wrapping_sub(7));
    all("add.s32 %r4, %r3, -7; shr.s32 %r4, %r4, 1;", |x| ((x as i32 - 7) >> 1) as u32);
    all("mul.hi.u32 %r4, %r3, 0x40000000;", |x| x / 4);
    all("bfe.u32 %r4, %r3, 2, 3;", |x| x >> 2 & 7);
    all("bfi.b32 %r4, 3, %r3, 1, 2;", |x| x | 6);
    all("lop3.b32 %r4, %r3, 21, 0, 0x3c;", |x| x ^ 21);
    all("prmt.b32 %r4, %r3, 0, 0x4440;", |x| x & 0xff);
    all("shf.l.wrap.b32 %r4, %r3, %r3, 4;", |x| x.rotate_left(4));
    all("popc.b32 %r4, %r3;", u32::count_ones);
    all("clz.b32 %r4, %r3;", u32::leading_zeros);
    all("setp.lt.u32 %p0|%p1, %r3, 9; selp.u32 %r4, 1, 2, %p1;", |x| if x < 9 { 2 } else { 1 });
    all("rem.u32 %r4, %r3, 5;", |x| x % 5);
    all("cvt.u8.u32 %r4, %r3; cvt.s32.s8 %r4, 200;", |_| -56i32 as u32);
}

#[test]
fn floats_by_hand() {
    let all = |body: &str, f: fn(f32) -> f32| {
        let body = format!("cvt.rn.f32.u32 %f0, %r3; {body} mov.b32 %r4, %f1;");
        let found = map(64, &body);
        assert_eq!(found, (0..64).map(|x| f(x as f32).to_bits()).collect::<Vec<_>>(), "{body}");
    };
    all("fma.rn.f32 %f1, %f0, 0f3DCCCCCD, 0f3F800000;", |x| x.mul_add(0.1, 1.0));
    all("div.rn.f32 %f1, %f0, 0f40400000;", |x| x / 3.0);
    all("sqrt.rn.f32 %f1, %f0;", f32::sqrt);
    all("neg.f32 %f1, %f0; min.NaN.f32 %f1, %f1, 0fC1200000;", |x| (-x).min(-10.0));
    all("mul.rn.f32 %f1, %f0, 0f3F000000; cvt.rni.f32.f32 %f1, %f1;", |x| (x / 2.0).round_ties_even());
    all("add.rn.f32 %f1, %f0, 0f45001000; cvt.rn.f16.f32 %h0, %f1; cvt.f32.f16 %f1, %h0;", |x| {
        // 2049 + x in f16: even numbers only, ties to even.
        let y = 2049.0 + x;
        if y % 2.0 == 0.0 {
            y
        } else if (y - 1.0) % 4.0 == 0.0 {
            y - 1.0
        } else {
            y + 1.0
        }
    });
    all("mov.f32 %f1, 0f7FC00000; setp.neu.f32 %p0, %f1, %f1; selp.f32 %f1, %f0, %f1, %p0;", |x| x);
}

/// Every thread loops as often as its number says; odd and even ones go different ways.
#[test]
fn parted_warps_meet_again() {
    let body = "
        mov.u32 %r4, 0; mov.u32 %r5, 0;
    $L0:
        setp.ge.u32 %p0, %r5, %r3;
        @%p0 bra $L3;
        and.b32 %r6, %r5, 1;
        setp.eq.u32 %p1, %r6, 1;
        @%p1 bra $L1;
        add.u32 %r4, %r4, 10;
        bra $L2;
    $L1:
        add.u32 %r4, %r4, 1;
    $L2:
        add.u32 %r5, %r5, 1;
        bra $L0;
    $L3:
        shfl.sync.bfly.b32 %r7, %r4, 1, 31, -1;
        max.u32 %r4, %r4, %r7;";
    let value = |x: u32| x.div_ceil(2) * 10 + x / 2;
    let expected: Vec<u32> = (0..64).map(|x| value(x).max(value(x ^ 1))).collect();
    assert_eq!(map(64, body), expected);
}

/// A sum over a block: shuffles within warps, shared memory between them.
#[test]
fn a_sum_over_a_block() {
    let mut body = format!("{START} .shared .align 16 .b8 shared[16];\n ld.global.f32 %f0, [%rd2];");
    for mask in [16, 8, 4, 2, 1] {
        body += &format!("mov.b32 %r3, %f0; shfl.sync.bfly.b32 %r3, %r3, {mask}, 31, -1; mov.b32 %f1, %r3;");
        body += "add.rn.f32 %f0, %f0, %f1;";
    }
    body += "
        mov.u32 %r4, %tid.x; shr.u32 %r5, %r4, 5; shl.b32 %r5, %r5, 2; mov.u32 %r6, shared; add.u32 %r5, %r5, %r6;
        and.b32 %r7, %r4, 31; setp.eq.u32 %p0, %r7, 0;
        @%p0 st.shared.f32 [%r5], %f0;
        bar.sync 0;
        ld.shared.v4.f32 {%f1, %f2, %f3, %f4}, [shared];
        add.rn.f32 %f1, %f1, %f2; add.rn.f32 %f3, %f3, %f4; add.rn.f32 %f1, %f1, %f3;
        setp.eq.u32 %p0, %r4, 0; mad.wide.s32 %rd3, %r1, 4, %rd1;
        @%p0 st.global.f32 [%rd3], %f1;";
    let numbers: Vec<f32> = (0..384).map(|i| i as f32).collect();
    let buffers = [bytes_of(&numbers, f32::to_le_bytes), vec![0; 12]];
    let (counts, found) = run(&module(&["u64", "u64"], &body), 3, 128, &buffers).unwrap();
    assert_eq!(f32s(&found[1]), [8128.0, 24512.0, 40896.0]);
    assert_eq!((counts.blocks, counts.of(Class::Shuffle), counts.of(Class::Barrier)), (3, 60, 12));
    assert_eq!((counts.sectors_read, counts.sectors_written), (48, 1));
    assert_eq!(counts.global_sectors, counts.global_sectors_ideal);
    assert_eq!(counts.bank_conflicts, 0);
}

/// Neighbours that lie 128 bytes apart take a sector each, and one bank all of them.
#[test]
fn strides_are_counted() {
    let body = format!(
        "{START} .shared .align 16 .b8 shared[4096];
        shl.b32 %r3, %r0, 7; mad.wide.s32 %rd2, %r0, 128, %rd0;
        ld.global.f32 %f0, [%rd2]; st.shared.f32 [%r3], %f0; ld.shared.f32 %f1, [%r3]; st.global.f32 [%rd3], %f1;"
    );
    let (counts, _) = run(&module(&["u64", "u64"], &body), 1, 32, &[vec![0; 4096], vec![0; 128]]).unwrap();
    assert_eq!((counts.global_requests, counts.global_sectors, counts.global_sectors_ideal), (2, 36, 8));
    assert_eq!((counts.shared_passes, counts.bank_conflicts), (64, 62));
}

#[test]
fn blank_lines_and_comments_are_skipped() {
    let text =
        format!("\n// one\n/* two\n three */\n{}", module(&["u64"], "\n// four\n.reg .b32 %r<2>; mov.u32 %r0, 1;"));
    let module = Module::parse(&text).unwrap();
    assert_eq!((module.target.as_str(), module.functions[0].n_instructions), ("sm_90a", 2));
}

#[test]
fn what_is_not_known_is_an_error_with_line_and_instruction() {
    let error = |body: &str| Module::parse(&module(&["u64"], body)).unwrap_err();
    let found = error(".reg .b32 %r<2>;\nmov.u32 %r0, 1;\nfrobnicate.b32 %r1, %r0;");
    assert_eq!((found.line, found.text.as_str()), (8, "frobnicate.b32 %r1, %r0"));
    assert!(found.to_string().contains("`frobnicate` is not supported"), "{found}");
    for (body, message) in [
        (".reg .b32 %r<2>; add.rz.f32 %r0, %r1, %r1;", "`.rn`"),
        (".reg .b32 %r<2>; add.s64 %r0, %r1, %r1;", "32 bits"),
        (".reg .b32 %r<2>; add.s32 %r0, %r1, %r9;", "`%r9`"),
        (".reg .b32 %r<2>; mov.u32 %r0, %clock;", "`%clock`"),
        (".reg .b32 %r<2>; bra $L7;", "no label `$L7`"),
        (".reg .b32 %r<2>; add.frob.s32 %r0, %r1, 1;", "`.frob` of `add`"),
        (".reg .b32 %r<9>; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1}, [%r2];", "4 registers, found 2"),
        (".reg .f16x3 %r<9>;", "a type"),
        (".tex .b32 %r<9>;", "`.tex`"),
    ] {
        let found = error(body).to_string();
        assert!(found.contains(message), "{body}: {found}");
    }
}
