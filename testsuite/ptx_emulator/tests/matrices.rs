//! Every shape of `mma` and `ldmatrix` against scalar models written from the tables of the ISA (section 9.7.14.5):
//! for each lane and each element of its fragment, the row and the column.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Random, module, run, u32s};
use ic_ptx_emulator::{Format, Rounding};

/// A type of factors: name, and how an element is read.
struct Factor {
    name: &'static str,
    bits: usize,
    format: Option<Format>,
    signed: bool,
}

const fn float(name: &'static str, bits: usize, format: Format) -> Factor {
    Factor { name, bits, format: Some(format), signed: true }
}

const F16: Factor = float("f16", 16, Format::F16);
const BF16: Factor = float("bf16", 16, Format::Bf16);
const TF32: Factor = float("tf32", 32, Format::Tf32);
const E4M3: Factor = float("e4m3", 8, Format::E4m3);
const E5M2: Factor = float("e5m2", 8, Format::E5m2);
const S8: Factor = Factor { name: "s8", bits: 8, format: None, signed: true };
const U8: Factor = Factor { name: "u8", bits: 8, format: None, signed: false };

impl Factor {
    fn value(&self, bits: u64) -> f64 {
        match self.format {
            Some(format) => format.decode(bits),
            None if self.signed => (bits as u8 as i8).into(),
            None => (bits as u8).into(),
        }
    }

    /// Bits of a small number.
    fn random(&self, random: &mut Random) -> u64 {
        match self.format {
            Some(format) => format.encode((random.next() % 64) as f64 / 16.0 - 2.0, Rounding::Nearest, false),
            None => random.next() & 0xff,
        }
    }
}

/// Row and column of element `i` of A in a lane: figures of `mma.m16n8k4` to `.m16n8k32`.
fn a_place(bits: usize, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    match (bits, k) {
        // .tf32: a0 (g, t), a1 (g + 8, t), a2 (g, t + 4), a3 (g + 8, t + 4)
        (32, 4) => [(group, thread), (group + 8, thread)][i],
        (32, 8) => [(group, thread), (group + 8, thread), (group, thread + 4), (group + 8, thread + 4)][i],
        // row: groupID for i = 0, 1, else groupID + 8
        (16, 8) => (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)),
        // row: groupID for 0 <= i < 2 and 4 <= i < 6; column: + 8 for i >= 4
        (16, 16) => {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            (row, thread * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
        }
        (8, 16) => (if i < 4 { group } else { group + 8 }, thread * 4 + (i & 3)),
        // row: groupID for 0 <= i < 4 and 8 <= i < 12; column: + 16 for i >= 8
        (8, 32) => {
            let row = if i < 4 || (8..12).contains(&i) { group } else { group + 8 };
            (row, thread * 4 + (i & 3) + if i >= 8 { 16 } else { 0 })
        }
        _ => panic!("no table"),
    }
}

/// Row and column of element `i` of B in a lane.
fn b_place(bits: usize, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    let row = match (bits, k) {
        (32, 4 | 8) => thread + 4 * i,
        (16, 8) => thread * 2 + i,
        (16, 16) => thread * 2 + (i & 1) + if i >= 2 { 8 } else { 0 },
        (8, 16) => thread * 4 + i,
        (8, 32) => thread * 4 + (i & 3) + if i >= 4 { 16 } else { 0 },
        _ => panic!("no table"),
    };
    (row, group)
}

/// Row and column of element `i` of the accumulators, of which a lane has four.
fn c_place(lane: usize, i: usize) -> (usize, usize) {
    (if i < 2 { lane / 4 } else { lane / 4 + 8 }, lane % 4 * 2 + (i & 1))
}

/// A kernel whose lanes load `counts` words of A, B and C, multiply and store as many words of D.
fn kernel(instruction: &str, counts: [usize; 3]) -> String {
    let mut body = String::from(".reg .b32 %r<20>; .reg .b64 %rd<12>; mov.u32 %r0, %tid.x;");
    let mut next = 1;
    let mut fragments = Vec::new();
    for (buffer, &n) in counts.iter().enumerate() {
        let address = 4 + buffer;
        body += &format!(
            "ld.param.u64 %rd{buffer}, [k_p{buffer}]; mad.wide.s32 %rd{address}, %r0, {}, %rd{buffer};",
            n * 4
        );
        let registers: Vec<String> = (next..next + n).map(|r| format!("%r{r}")).collect();
        next += n;
        for (i, register) in registers.iter().enumerate() {
            body += &format!("ld.global.b32 {register}, [%rd{address}+{}];", i * 4);
        }
        fragments.push(format!("{{{}}}", registers.join(", ")));
    }
    let [a, b, c] = <[String; 3]>::try_from(fragments).unwrap();
    body += &format!("{instruction} {c}, {a}, {b}, {c};");
    body += &format!("ld.param.u64 %rd3, [k_p3]; mad.wide.s32 %rd8, %r0, {}, %rd3;", counts[2] * 4);
    for (i, register) in c.trim_matches(['{', '}']).split(", ").enumerate() {
        body += &format!("st.global.b32 [%rd8+{}], {register};", i * 4);
    }
    module(&["u64"; 4], &body)
}

/// Words of a lane's fragments, elements in order from the lowest bits on.
fn pack(bits: usize, per_lane: usize, element: impl Fn(usize, usize) -> u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for lane in 0..32 {
        for i in 0..per_lane {
            bytes.extend_from_slice(&element(lane, i).to_le_bytes()[..bits / 8]);
        }
    }
    bytes
}

fn check(a: &Factor, b: &Factor, k: usize, sums: &str) {
    let random = &mut Random(k as u64 + a.bits as u64);
    let left: Vec<u64> = (0..16 * k).map(|_| a.random(random)).collect();
    let right: Vec<u64> = (0..k * 8).map(|_| b.random(random)).collect();
    let start: Vec<f64> = (0..16 * 8).map(|_| (random.next() % 100) as f64 - 50.0).collect();
    let (a_lane, b_lane) = (16 * k / 32, 8 * k / 32);
    let place = |(row, column): (usize, usize), width: usize| row * width + column;
    let c_bits = if sums == "f16" { 16 } else { 32 };
    let c_of = |x: f64| match sums {
        "f16" => Format::F16.encode(x, Rounding::Nearest, false),
        "f32" => u64::from((x as f32).to_bits()),
        _ => u64::from(x as i64 as u32),
    };
    let buffers = [
        pack(a.bits, a_lane, |lane, i| left[place(a_place(a.bits, k, lane, i), k)]),
        pack(b.bits, b_lane, |lane, i| right[place(b_place(b.bits, k, lane, i), 8)]),
        pack(c_bits, 4, |lane, i| c_of(start[place(c_place(lane, i), 8)])),
        vec![0; 32 * 4 * c_bits / 8],
    ];
    let words = [a_lane * a.bits / 32, b_lane * b.bits / 32, 4 * c_bits / 32];
    let name = format!("mma.sync.aligned.m16n8k{k}.row.col.{sums}.{}.{}.{sums}", a.name, b.name);
    let (counts, found) = run(&kernel(&name, words), 1, 32, &buffers).unwrap();
    assert_eq!(counts.tensor_flops, 2 * 16 * 8 * k as u64);
    for lane in 0..32 {
        for i in 0..4 {
            let (m, n) = c_place(lane, i);
            let product = |s: usize| a.value(left[m * k + s]) * b.value(right[s * 8 + n]);
            let expected = c_of((0..k).map(product).sum::<f64>() + start[m * 8 + n]);
            let at = (lane * 4 + i) * c_bits / 8;
            let mut wide = [0; 8];
            wide[..c_bits / 8].copy_from_slice(&found[3][at..at + c_bits / 8]);
            assert_eq!(u64::from_le_bytes(wide), expected, "{name}: row {m}, column {n}");
        }
    }
}

#[test]
fn products_of_floats() {
    for k in [8, 16] {
        check(&F16, &F16, k, "f32");
        check(&F16, &F16, k, "f16");
        check(&BF16, &BF16, k, "f32");
    }
    for k in [4, 8] {
        check(&TF32, &TF32, k, "f32");
    }
    for (a, b) in [(&E4M3, &E4M3), (&E4M3, &E5M2), (&E5M2, &E4M3), (&E5M2, &E5M2)] {
        check(a, b, 32, "f32");
        check(a, b, 16, "f16");
    }
}

#[test]
fn products_of_integers() {
    for k in [16, 32] {
        for (a, b) in [(&S8, &S8), (&U8, &S8), (&S8, &U8), (&U8, &U8)] {
            check(a, b, k, "s32");
        }
    }
}

/// Factors of tf32 are read without their lowest 13 bits.
#[test]
fn tf32_ignores_low_bits() {
    assert_eq!(Format::Tf32.decode(0x3f80_1fff), 1.0);
}

/// Row `j` of matrix `i` is at the address that lane `8 i + j` has; lane `l` gets two neighbours of row `l / 4`.
#[test]
fn matrices_are_loaded_and_stored() {
    for (n, transposed) in [(1, false), (1, true), (2, false), (2, true), (4, false), (4, true)] {
        let trans = if transposed { ".trans" } else { "" };
        let registers: Vec<String> = (1..=n).map(|r| format!("%r{r}")).collect();
        let registers = format!("{{{}}}", registers.join(", "));
        let mut body = format!(
            ".reg .b32 %r<20>; .reg .b64 %rd<12>; .reg .pred %p<2>;
            .shared .align 128 .b8 shared[1024];
            ld.param.u64 %rd0, [k_p0]; ld.param.u64 %rd1, [k_p1]; ld.param.u64 %rd5, [k_p2];
            mov.u32 %r0, %tid.x; mad.wide.s32 %rd2, %r0, 16, %rd0; shl.b32 %r9, %r0, 4;
            ld.global.v4.b32 {{%r10, %r11, %r12, %r13}}, [%rd2];
            st.shared.v4.b32 [%r9], {{%r10, %r11, %r12, %r13}};
            bar.sync 0;
            ldmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 {registers}, [%r9];
            mad.wide.s32 %rd3, %r0, {}, %rd1;",
            4 * n
        );
        for i in 0..n {
            body += &format!("st.global.b32 [%rd3+{}], %r{};", 4 * i, i + 1);
        }
        body += &format!(
            "setp.lt.u32 %p0, %r0, {};
            add.u32 %r9, %r9, 512;
            stmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 [%r9], {registers};
            bar.sync 0;
            mad.wide.s32 %rd4, %r0, 16, %rd5;
            @%p0 ld.shared.v4.b32 {{%r10, %r11, %r12, %r13}}, [%r9];
            @%p0 st.global.v4.b32 [%rd4], {{%r10, %r11, %r12, %r13}};",
            8 * n
        );
        let halves: Vec<u16> = (0..256).collect();
        let source = halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
        let text = module(&["u64"; 3], &body);
        let (_, found) = run(&text, 1, 32, &[source.clone(), vec![0; 128 * n], vec![0; 128 * n]]).unwrap();
        for (at, word) in u32s(&found[1]).into_iter().enumerate() {
            let (lane, part) = (at / n, at % n);
            let half = |j: usize| {
                let (row, column) = (lane / 4, lane % 4 * 2 + j);
                let (row, column) = if transposed { (column, row) } else { (row, column) };
                (part * 64 + row * 8 + column) as u32
            };
            assert_eq!(word, half(0) | half(1) << 16, "x{n}{trans}: lane {lane}, matrix {part}");
        }
        // Storing is the inverse of loading.
        assert_eq!(found[2], source[..128 * n], "x{n}{trans}");
    }
}
