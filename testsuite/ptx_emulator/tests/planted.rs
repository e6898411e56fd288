//! Planted bugs: each is found, by its kind, and the kernel without it runs.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{bytes_of, fault, module, run, u32s};
use ic_ptx_emulator::FaultKind;

fn words(n: u32) -> Vec<u8> {
    bytes_of(&(0..n).collect::<Vec<_>>(), u32::to_le_bytes)
}

/// Reverses the words of a block of 64 through shared memory.
const REVERSE: &str = "
    .reg .b32 %r<20>; .reg .b64 %rd<8>; .reg .pred %p<4>;
    .shared .align 16 .b8 shared[256];
    ld.param.u64 %rd0, [k_p0]; ld.param.u64 %rd1, [k_p1];
    mov.u32 %r0, %tid.x;
    mad.wide.s32 %rd2, %r0, 4, %rd0; mad.wide.s32 %rd3, %r0, 4, %rd1;
    ld.global.u32 %r1, [%rd2];
    shl.b32 %r2, %r0, 2;
    st.shared.u32 [%r2], %r1;
    bar.sync 0;
    sub.u32 %r3, 252, %r2;
    ld.shared.u32 %r4, [%r3];
    st.global.u32 [%rd3], %r4;";

fn reverse(from: &str, to: &str) -> String {
    assert!(REVERSE.contains(from), "{from}");
    module(&["u64", "u64"], &REVERSE.replace(from, to))
}

#[track_caller]
fn planted(from: &str, to: &str, kind: FaultKind) {
    let found = fault(&reverse(from, to), 64, &[words(64), vec![0; 256]]);
    assert_eq!(found.kind, kind, "{found}");
    assert!(found.line > 0 && !found.instruction.is_empty(), "{found}");
}

#[test]
fn bugs_of_a_reversal() {
    let (_, buffers) = run(&reverse("bar.sync 0;", "bar.sync 0;"), 1, 64, &[words(64), vec![0; 256]]).unwrap();
    assert_eq!(u32s(&buffers[1]), (0..64).rev().collect::<Vec<_>>());
    // A missing barrier: the other warp's words are not there, or are being written.
    let text = reverse("bar.sync 0;", "");
    let found = fault(&text, 64, &[words(64), vec![0; 256]]);
    assert!(matches!(found.kind, FaultKind::Race | FaultKind::Uninitialized), "{found}");
    planted("sub.u32 %r3, 252, %r2;", "sub.u32 %r3, 256, %r2;", FaultKind::OutOfBounds);
    planted("sub.u32 %r3, 252, %r2;", "sub.u32 %r3, 250, %r2;", FaultKind::Misaligned);
    planted("shared[256]", "shared[252]", FaultKind::OutOfBounds);
    planted("st.shared.u32 [%r2], %r1;", "", FaultKind::Uninitialized);
    planted("ld.global.u32 %r1, [%rd2];", "", FaultKind::Uninitialized);
    planted("ld.global.u32 %r1, [%rd2];", "ld.global.u32 %r1, [%rd2+4];", FaultKind::OutOfBounds);
    planted("st.global.u32 [%rd3], %r4;", "st.global.u32 [%rd1], %r4;", FaultKind::Race);
    // Only some threads reach the barrier: within a warp, or whole warps.
    let part = |n: u32| format!("setp.lt.u32 %p0, %r0, {n}; @!%p0 bra $L0; bar.sync 0; $L0:");
    planted("bar.sync 0;", &part(48), FaultKind::Divergence);
    let ended = "setp.lt.u32 %p0, %r0, 32; @!%p0 bra $L1; bar.sync 0;";
    let text = module(&["u64", "u64"], &(REVERSE.replace("bar.sync 0;", ended) + "\n$L1:"));
    assert_eq!(fault(&text, 64, &[words(64), vec![0; 256]]).kind, FaultKind::Divergence);
}

/// The second round overwrites what the first may still read.
#[test]
fn a_barrier_that_is_missing_before_memory_is_used_again() {
    let again = "add.u32 %r5, %r4, 1; st.shared.u32 [%r2], %r5; bar.sync 0; ld.shared.u32 %r4, [%r3];";
    let rounds = |barrier: &str| {
        let store = "st.global.u32 [%rd3], %r4;";
        reverse(store, &format!("{barrier} {again} {store}"))
    };
    let (_, buffers) = run(&rounds("bar.sync 0;"), 1, 64, &[words(64), vec![0; 256]]).unwrap();
    assert_eq!(u32s(&buffers[1]), (1..65).collect::<Vec<_>>());
    assert_eq!(fault(&rounds(""), 64, &[words(64), vec![0; 256]]).kind, FaultKind::Race);
}

/// Two blocks write the same bytes, or one reads what the other writes.
#[test]
fn blocks_that_race() {
    let body = |to: &str, from: &str| {
        module(
            &["u64", "u64"],
            &format!(
                ".reg .b32 %r<8>; .reg .b64 %rd<8>;
                ld.param.u64 %rd0, [k_p0]; ld.param.u64 %rd1, [k_p1];
                mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mad.lo.s32 %r2, %r1, 32, %r0;
                mad.wide.s32 %rd2, {from}, 4, %rd0; mad.wide.s32 %rd3, {to}, 4, %rd1;
                ld.global.u32 %r3, [%rd2]; st.global.u32 [%rd3], %r3;"
            ),
        )
    };
    let buffers = [words(64), vec![0; 256]];
    run(&body("%r2", "%r2"), 2, 32, &buffers).unwrap();
    assert_eq!(run(&body("%r0", "%r2"), 2, 32, &buffers).unwrap_err().kind, FaultKind::Race);
    // In place, each block reads what the other writes.
    let swapped = body("%r2", "%r2").replace("ld.param.u64 %rd0, [k_p0]", "ld.param.u64 %rd0, [k_p1]");
    run(&swapped, 2, 32, &buffers).unwrap();
    let swapped =
        swapped.replace("mad.lo.s32 %r2, %r1, 32, %r0;", "mad.lo.s32 %r2, %r1, 32, %r0; xor.b32 %r4, %r2, 32;");
    let swapped = swapped.replace("mad.wide.s32 %rd2, %r2", "mad.wide.s32 %rd2, %r4");
    assert_eq!(run(&swapped, 2, 32, &buffers).unwrap_err().kind, FaultKind::Race);
}

/// Two stages of copies, summed: a copy is read only after it was waited for.
fn staged(first: &str, second: &str) -> String {
    module(
        &["u64", "u64"],
        &format!(
            ".reg .b32 %r<20>; .reg .b64 %rd<8>;
            .shared .align 16 .b8 shared[1024];
            ld.param.u64 %rd0, [k_p0]; ld.param.u64 %rd1, [k_p1];
            mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 4;
            mad.wide.s32 %rd2, %r0, 16, %rd0; mad.wide.s32 %rd3, %r0, 4, %rd1;
            cp.async.cg.shared.global [%r1], [%rd2], 16;
            cp.async.commit_group;
            cp.async.ca.shared.global [%r1+512], [%rd2+512], 16, 8;
            cp.async.commit_group;
            {first}
            ld.shared.u32 %r2, [%r1+4];
            {second}
            ld.shared.u32 %r3, [%r1+516];
            ld.shared.u32 %r4, [%r1+520];
            add.u32 %r2, %r2, %r3; add.u32 %r2, %r2, %r4;
            st.global.u32 [%rd3], %r2;"
        ),
    )
}

#[test]
fn copies_land_when_they_are_waited_for() {
    let buffers = [words(256), vec![0; 128]];
    let right = [
        staged("cp.async.wait_group 1;", "cp.async.wait_group 0;"),
        staged("cp.async.wait_all;", ""),
        staged("cp.async.wait_group 0;", ""),
    ];
    for text in right {
        let (_, found) = run(&text, 1, 32, &buffers).unwrap();
        // Beyond the first 8 bytes of the second copy there are zeros.
        assert_eq!(u32s(&found[1]), (0..32).map(|i| (4 * i + 1) + (128 + 4 * i + 1)).collect::<Vec<_>>());
    }
    let wrong = [("", "cp.async.wait_group 0;"), ("cp.async.wait_group 1;", ""), ("cp.async.wait_group 2;", "")];
    for (first, second) in wrong {
        assert_eq!(fault(&staged(first, second), 32, &buffers).kind, FaultKind::CopyInFlight, "{first}, {second}");
    }
    // Copies land for those that wait; others need a barrier too.
    let other = staged("cp.async.wait_all;", "")
        .replace("[%r1+4]", "[%r5]")
        .replace("cp.async.wait_all;", "cp.async.wait_all; xor.b32 %r5, %r1, 16;");
    assert_eq!(fault(&other, 32, &buffers).kind, FaultKind::Race);
    let ordered = other.replace("cp.async.wait_all;", "cp.async.wait_all; bar.sync 0;");
    run(&ordered, 1, 32, &buffers).unwrap();
}

/// A wrong swizzle, or fragments in a wrong order, give wrong numbers: caught by comparison with the right ones.
#[test]
fn a_wrong_swizzle_changes_fragments_or_conflicts() {
    // Eight rows of 128 bytes; row `i` has its chunks of 16 bytes at `chunk ^ swizzle(i)`.
    let body = |store: &str, load: &str| {
        module(
            &["u64", "u64"],
            &format!(
                ".reg .b32 %r<20>; .reg .b64 %rd<8>;
                .shared .align 128 .b8 shared[1024];
                ld.param.u64 %rd0, [k_p0]; ld.param.u64 %rd1, [k_p1];
                mov.u32 %r0, %tid.x; shr.u32 %r1, %r0, 3; and.b32 %r2, %r0, 7;
                mad.wide.s32 %rd2, %r0, 16, %rd0;
                {store} shl.b32 %r3, %r3, 4; mad.lo.s32 %r3, %r1, 128, %r3;
                ld.global.v4.b32 {{%r4, %r5, %r6, %r7}}, [%rd2];
                st.shared.v4.b32 [%r3], {{%r4, %r5, %r6, %r7}};
                bar.sync 0;
                and.b32 %r1, %r0, 7; mov.u32 %r2, 3;
                {load} shl.b32 %r3, %r3, 4; mad.lo.s32 %r3, %r1, 128, %r3;
                ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r8}}, [%r3];
                mad.wide.s32 %rd3, %r0, 4, %rd1;
                st.global.u32 [%rd3], %r8;"
            ),
        )
    };
    let run = |store: &str, load: &str| run(&body(store, load), 1, 64, &[words(256), vec![0; 256]]).unwrap();
    let (swizzled, plain) = ("xor.b32 %r3, %r2, %r1;", "mov.u32 %r3, %r2;");
    // Chunk 3 of row `lane / 4`, word `lane % 4`.
    let expected: Vec<u32> = (0..64u32).map(|t| t % 32 / 4 * 32 + 12 + t % 4).collect();
    let (good, found) = run(swizzled, swizzled);
    assert_eq!(u32s(&found[1]), expected);
    assert_eq!(good.bank_conflicts, 0);
    let (slow, found) = run(plain, plain);
    assert_eq!(u32s(&found[1]), expected);
    assert_eq!(slow.bank_conflicts, 14);
    assert_ne!(u32s(&run(swizzled, plain).1[1]), expected);
}
