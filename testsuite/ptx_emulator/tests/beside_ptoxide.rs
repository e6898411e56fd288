//! Random scalar kernels here and in `ptoxide`, an interpreter that shares nothing with this one: the same bits.
//!
//! Kernels keep to what both define: there integers that overflow stop the program, and `fma`, the only product of floats, rounds
//! twice.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Random, bytes_of, run, u32s};
use ptoxide::{Argument, Context, LaunchParams};

const THREADS: u32 = 32;
const BLOCKS: u32 = 3;

/// A kernel over words of two buffers: `%r3` is the thread's word of the first, and `%r4` becomes that of the second.
fn kernel(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_p0, .param .u64 k_p1)\n{{
    .reg .b32 %r<16>; .reg .b64 %rd<8>; .reg .f32 %f<8>; .reg .pred %p<4>;
    ld.param.u64 %rd0, [k_p0];
    ld.param.u64 %rd1, [k_p1];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mad.lo.s32 %r0, %r1, %r2, %r0;
    mul.wide.s32 %rd2, %r0, 4;
    add.s64 %rd3, %rd0, %rd2;
    add.s64 %rd4, %rd1, %rd2;
    ld.global.u32 %r3, [%rd3];
{body}
    st.global.u32 [%rd4], %r4;
    ret;
}}\n"
    )
}

/// What both make of the words.
fn both(body: &str, words: &[u32]) -> [Vec<u32>; 2] {
    let text = kernel(body);
    let input = bytes_of(words, u32::to_le_bytes);
    let (_, buffers) = run(&text, BLOCKS, THREADS, &[input, vec![0; 4 * words.len()]]).unwrap();
    let mut context = Context::new_with_module(&text).unwrap();
    let [from, to] = [(); 2].map(|()| context.alloc(4 * words.len()));
    context.write(from, words);
    let how = LaunchParams::func_id(0).grid1d(BLOCKS).block1d(THREADS);
    context.run(how, &[Argument::ptr(from), Argument::ptr(to)]).unwrap();
    let mut found = vec![0u32; words.len()];
    context.read(to, &mut found);
    [u32s(&buffers[1]), found]
}

fn words(random: &mut Random) -> Vec<u32> {
    (0..BLOCKS * THREADS).map(|_| random.next() as u32).collect()
}

#[test]
fn integers() {
    let mut random = Random(11);
    for _ in 0..60 {
        let mut body = "and.b32 %r5, %r3, 1023;\nmov.u32 %r6, 77;\nmov.u32 %r7, %tid.x;\n".to_string();
        for _ in 0..12 {
            let [dst, a, b, c] = [(); 4].map(|()| 5 + random.next() % 3);
            body += &match random.next() % 8 {
                0 => format!("add.s32 %r{dst}, %r{a}, %r{b};\n"),
                1 => format!("sub.s32 %r{dst}, %r{a}, %r{b};\n"),
                2 => format!("mul.lo.s32 %r{dst}, %r{a}, %r{b};\n"),
                3 => format!("mad.lo.s32 %r{dst}, %r{a}, %r{b}, %r{c};\n"),
                4 => format!("and.b32 %r{dst}, %r{a}, %r{b};\n"),
                5 => format!("or.b32 %r{dst}, %r{a}, %r{b};\n"),
                6 => format!("shl.b32 %r{dst}, %r{a}, {};\n", random.next() % 20),
                _ => format!("neg.s32 %r{dst}, %r{a};\n"),
            };
            body += &format!("and.b32 %r{dst}, %r{dst}, 1023;\n");
        }
        body += "add.s32 %r4, %r5, %r6;\nadd.s32 %r4, %r4, %r7;";
        let [here, there] = both(&body, &words(&mut random));
        assert_eq!(here, there, "{body}");
    }
}

#[test]
fn floats() {
    let mut random = Random(12);
    for _ in 0..60 {
        // Numbers from 1 to 2, which results of a few operations cannot leave far behind.
        let start =
            "and.b32 %r5, %r3, 8388607;\nor.b32 %r5, %r5, 1065353216;\nmov.b32 %f1, %r5;\nmov.f32 %f2, 0f3F000000;\n";
        let mut body = format!("{start}mov.f32 %f3, 0fBFA00000;\n");
        for _ in 0..10 {
            let [dst, a, b] = [(); 3].map(|()| 1 + random.next() % 3);
            body += &match random.next() % 4 {
                0 => format!("add.f32 %f{dst}, %f{a}, %f{b};\n"),
                1 => format!("sub.f32 %f{dst}, %f{a}, %f{b};\n"),
                2 => format!("fma.rn.f32 %f{dst}, %f{a}, 0f3F400000, 0f00000000;\n"),
                _ => format!("neg.f32 %f{dst}, %f{b};\n"),
            };
        }
        body += "add.f32 %f1, %f1, %f2;\nadd.f32 %f1, %f1, %f3;\nmov.b32 %r4, %f1;";
        let [here, there] = both(&body, &words(&mut random));
        assert_eq!(here, there, "{body}");
    }
}

/// Threads that part at a comparison, loop a different number of times, and meet.
#[test]
fn control_flow() {
    let mut random = Random(13);
    for compare in ["lt", "le", "gt", "ge", "eq", "ne"] {
        let body = format!(
            "and.b32 %r5, %r3, 31;
    mov.u32 %r4, %tid.x;
    mov.u32 %r6, 0;
$L_again:
    setp.{compare}.s32 %p1, %r5, %r4;
    @%p1 bra $L_other;
    add.s32 %r4, %r4, 3;
    bra $L_meet;
$L_other:
    mad.lo.s32 %r4, %r4, 5, 1;
$L_meet:
    and.b32 %r4, %r4, 63;
    add.s32 %r6, %r6, 1;
    setp.lt.s32 %p2, %r6, %r5;
    @%p2 bra $L_again;"
        );
        let [here, there] = both(&body, &words(&mut random));
        assert_eq!(here, there, "{compare}");
    }
}
