//! How close each kernel comes to this machine's limit on one thread: GFLOP/s as a share of the measured peak of
//! fused multiply-adds, four times that for 8-bit integers; and GB/s of operands and result as a share of what reading as
//! many bytes from one array reaches.
//!
//! `cargo run --release -p ic-kernels --example limits [ISA] [NAME]` measures the rows whose name contains NAME.
#![expect(unsafe_code, reason = "runs kernels on raw buffers")]
#![expect(clippy::print_stdout, reason = "prints its measurements")]

use ic_kernels::abi::{Call, EpilogueOp, Operand, Serial, Strip};
use ic_kernels::host::Host;
use ic_kernels::isa::Isa;
use ic_kernels::table::{find, table};
use ic_types::DType;
use std::time::Instant;

/// Seconds that `body` takes: the fastest of many runs.
fn seconds(mut body: impl FnMut()) -> f64 {
    let (start, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 5 || (start.elapsed().as_secs_f64() < 0.3 && runs < 10_000) {
        let run = Instant::now();
        body();
        best = best.min(run.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

/// A row of the report: a kernel on operands of these shapes.
struct Row {
    label: &'static str,
    kernel: &'static str,
    layout: u32,
    shapes: [Vec<i64>; 3],
    /// Strides of `b` where it is not dense.
    b_strides: Option<Vec<i64>>,
    attrs: Vec<i64>,
    /// Multiply-adds.
    work: i64,
}

fn matmul(label: &'static str, m: i64, k: i64, n: i64) -> Row {
    let shapes = [vec![m, k], vec![k, n], vec![m, n]];
    Row { label, kernel: "f32_matmul_packed", layout: 1, shapes, b_strides: None, attrs: vec![], work: m * k * n }
}

/// `q x k^T` of attention: `b` is a transposed view.
fn scores(label: &'static str, heads: i64, m: i64, k: i64, n: i64) -> Row {
    Row {
        label,
        kernel: "f32_matmul",
        layout: 0,
        shapes: [vec![heads, m, k], vec![heads, k, n], vec![heads, m, n]],
        b_strides: Some(vec![n * k, 1, k]),
        attrs: vec![],
        work: heads * m * k * n,
    }
}

fn dynamic(label: &'static str, heads: i64, m: i64, k: i64, n: i64) -> Row {
    Row { b_strides: None, ..scores(label, heads, m, k, n) }
}

fn conv(label: &'static str, from: i64, to: i64, size: i64, kernel: i64, stride: i64) -> Row {
    let (pad, out) = (kernel / 2, size.div_euclid(stride));
    let depthwise = from == to && label.starts_with("depthwise");
    let inputs = if depthwise { 1 } else { from };
    Row {
        label,
        kernel: if depthwise { "f32_depthwise_conv_nhwc" } else { "f32_conv_nhwc" },
        layout: 1,
        shapes: [vec![1, size, size, from], vec![to, inputs, kernel, kernel], vec![1, out, out, to]],
        b_strides: None,
        attrs: vec![kernel, kernel, stride, stride, pad, pad, 1, 1, if depthwise { from } else { 1 }],
        work: out * out * to * inputs * kernel * kernel,
    }
}

/// A 3 by 3 convolution by transformed tiles; its work is that of the direct one.
fn winograd(label: &'static str, from: i64, to: i64, size: i64) -> Row {
    Row { kernel: "f32_winograd_conv_nhwc", ..conv(label, from, to, size, 3, 1) }
}

/// The same on bytes.
fn int8(label: &'static str, row: Row) -> Row {
    let kernel = match row.kernel {
        "f32_matmul_packed" => "int8_matmul_packed",
        "f32_depthwise_conv_nhwc" => "int8_depthwise_conv_nhwc",
        "f32_conv_nhwc" => "int8_conv_nhwc",
        _ => "int8_matmul",
    };
    Row { label, kernel, ..row }
}

fn rows() -> Vec<Row> {
    vec![
        int8("int8 matmul 512x1024x1024", matmul("", 512, 1024, 1024)),
        int8("int8 matmul 128x384x1536", matmul("", 128, 384, 1536)),
        int8("int8 matmul 1x768x3072", matmul("", 1, 768, 3072)),
        int8("int8 q k^T 12x128x64x128", scores("", 12, 128, 64, 128)),
        int8("int8 conv 3x3 64->64 56", conv("", 64, 64, 56, 3, 1)),
        int8("int8 conv 1x1 256->64 56", conv("", 256, 64, 56, 1, 1)),
        int8("int8 conv 1x1 64->256 56", conv("", 64, 256, 56, 1, 1)),
        int8("int8 conv 3x3 512->512 7", conv("", 512, 512, 7, 3, 1)),
        int8("int8 matmul 1x256x1024", matmul("", 1, 256, 1024)),
        int8("int8 matmul 1x2048x8192", matmul("", 1, 2048, 8192)),
        int8("int8 conv 7x7s2 3->64 224", conv("", 3, 64, 224, 7, 2)),
        int8("int8 conv 3x3s2 3->32 224", conv("", 3, 32, 224, 3, 2)),
        int8("int8 depthwise 3x3 96 112", conv("depthwise", 96, 96, 112, 3, 1)),
        int8("int8 depthwise 5x5 240 28", conv("depthwise", 240, 240, 28, 5, 1)),
        matmul("matmul 128x384x1536", 128, 384, 1536),
        matmul("matmul 128x1536x384", 128, 1536, 384),
        matmul("matmul 197x768x3072", 197, 768, 3072),
        matmul("matmul 512x1024x1024", 512, 1024, 1024),
        matmul("matmul 1x768x3072", 1, 768, 3072),
        matmul("matmul 3x768x3072", 3, 768, 3072),
        matmul("matmul 1x256x256", 1, 256, 256),
        scores("q k^T 12x128x64x128", 12, 128, 64, 128),
        dynamic("p v 12x128x128x64", 12, 128, 128, 64),
        scores("q k^T decode 12x1x64x1024", 12, 1, 64, 1024),
        conv("conv 3x3 64->64 56", 64, 64, 56, 3, 1),
        conv("conv 1x1 256->64 56", 256, 64, 56, 1, 1),
        conv("conv 1x1 64->256 56", 64, 256, 56, 1, 1),
        conv("conv 3x3 512->512 7", 512, 512, 7, 3, 1),
        conv("conv 3x3 16->16 160", 16, 16, 160, 3, 1),
        winograd("winograd 16->16 160", 16, 16, 160),
        winograd("winograd 32->32 80", 32, 32, 80),
        winograd("winograd 64->64 56", 64, 64, 56),
        winograd("winograd 128->128 28", 128, 128, 28),
        winograd("winograd 256->256 14", 256, 256, 14),
        conv("conv 3x3 256->256 14", 256, 256, 14, 3, 1),
        winograd("winograd 512->512 7", 512, 512, 7),
        conv("conv 7x7s2 3->64 224", 3, 64, 224, 7, 2),
        conv("conv 3x3s2 3->32 224", 3, 32, 224, 3, 2),
        conv("conv 1x1 16->96 112", 16, 96, 112, 1, 1),
        conv("depthwise 3x3 96 112", 96, 96, 112, 3, 1),
        conv("depthwise 3x3s2 96 112", 96, 96, 112, 3, 2),
        conv("depthwise 5x5 240 28", 240, 240, 28, 5, 1),
    ]
}

fn len(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

/// Buffers that start on a cache line and hold small values.
fn buffer(len: usize) -> (Vec<f32>, usize) {
    let data: Vec<f32> = (0..len + 16).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
    let start = data.as_ptr().align_offset(64);
    (data, start)
}

fn measure(row: &Row, isa: Isa) -> f64 {
    let kernel = find(row.kernel, row.layout, isa).expect("the kernel exists");
    // Packed weights are padded to 16 columns; transformed ones take four times the memory.
    let padded = row.shapes.each_ref().map(|shape| 4 * (len(shape) + 16 * len(&shape[1..])) + 4096);
    let mut buffers = padded.map(buffer);
    let strides: Vec<Vec<i64>> = row
        .shapes
        .iter()
        .enumerate()
        .map(|(i, shape)| match &row.b_strides {
            Some(strides) if i == 1 => strides.clone(),
            _ => (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect(),
        })
        .collect();
    let bytes = row.kernel.starts_with("int8");
    let mut operands: Vec<Operand> = (buffers.iter_mut().zip(&row.shapes).zip(&strides))
        .map(|(((data, start), shape), strides)| Operand {
            data: data[*start..].as_mut_ptr().cast(),
            dtype: if bytes { DType::U8 } else { DType::F32 },
            shape,
            strides,
        })
        .collect();
    if bytes {
        operands[1].dtype = DType::I8;
        let absent = Operand { data: std::ptr::null_mut(), dtype: DType::U8, shape: &[], strides: &[] };
        [2, 3, 4].into_iter().for_each(|at| operands.insert(at, absent));
    }
    let mut scratch = vec![0u8; (kernel.scratch)(&operands, &row.attrs, 1) + 64];
    let start = scratch.as_ptr().align_offset(64);
    let columns = vec![0.5f32; 4096];
    let requantize = [
        EpilogueOp::MulColumn(columns.as_ptr()),
        EpilogueOp::AddColumn(columns.as_ptr()),
        EpilogueOp::Quantize { scale: 20.0, zero: 3.0, low: 0.0, high: 255.0 },
    ];
    let relu = [EpilogueOp::Strip(Strip::Relu)];
    let call = Call {
        operands: &operands,
        attrs: &row.attrs,
        epilogue: if bytes { &requantize } else { &relu },
        callback: None,
        scratch: scratch[start..].as_mut_ptr(),
        pool: &Serial,
        pieces: false,
        host: Host::none(),
    };
    // SAFETY: the operands have the shapes that the kernel expects.
    seconds(|| unsafe { (kernel.run)(&call) }.expect("the kernel runs"))
}

/// Peak of fused multiply-adds in GFLOP/s, from independent chains in registers.
fn peak(isa: Isa) -> f64 {
    const ROUNDS: usize = 1 << 20;
    macro_rules! chains {
        ($features:literal, $set:ident, $fma:ident, $store:ident, $n:literal, $lanes:literal) => {{
            #[target_feature(enable = $features)]
            fn run() -> f32 {
                use std::arch::x86_64::*;
                let (a, mut sums) = ($set(std::hint::black_box(0.5)), [$set(1.0); $n]);
                for _ in 0..ROUNDS {
                    for i in 0..$n {
                        sums[i] = $fma(sums[i], a, a);
                    }
                }
                let mut lanes = [0.0; $lanes];
                for i in 0..$n {
                    sums[0] = $fma(sums[i], a, sums[0]);
                }
                // SAFETY: the array has room for a vector.
                unsafe { $store(lanes.as_mut_ptr(), sums[0]) };
                lanes[0]
            }
            let time = seconds(|| {
                // SAFETY: the caller checked the instruction set.
                std::hint::black_box(unsafe { run() });
            });
            (2 * ROUNDS * $n * $lanes) as f64 / time / 1e9
        }};
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx | Isa::Avx512 => chains!("avx512f", _mm512_set1_ps, _mm512_fmadd_ps, _mm512_storeu_ps, 12, 16),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => chains!("avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps, _mm256_storeu_ps, 12, 8),
        _ => f64::NAN,
    }
}

/// GB/s of reading an array of `bytes` again and again: from the cache that holds it, or from memory.
fn read_rate(bytes: usize) -> f64 {
    let words: Vec<u64> = (0..bytes.div_ceil(8)).map(|i| i as u64).collect();
    #[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2"))]
    fn sum(words: &[u64]) -> u64 {
        let mut sums = [0u64; 32];
        for chunk in words.chunks_exact(32) {
            sums.iter_mut().zip(chunk).for_each(|(sum, &word)| *sum ^= word);
        }
        sums.iter().fold(0, |all, &sum| all ^ sum)
    }
    #[cfg(target_arch = "x86_64")]
    if !Isa::Avx2.is_supported() {
        return f64::NAN;
    }
    let time = seconds(|| {
        // SAFETY: the processor has what the function is compiled for.
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_unsafe, reason = "only there it has features"))]
        std::hint::black_box(unsafe { sum(std::hint::black_box(&words)) });
    });
    bytes as f64 / time / 1e9
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let isa = arguments.next().and_then(|name| Isa::from_name(&name)).unwrap_or_else(Isa::detect);
    let wanted = arguments.next().unwrap_or_default();
    let peak = peak(isa);
    println!("{}: {peak:.0} GFLOP/s of fused multiply-adds", isa.name());
    for row in rows().iter().filter(|row| row.label.contains(&wanted)) {
        let time = measure(row, isa);
        let rate = 2.0 * row.work as f64 / time / 1e9;
        let peak = if row.kernel.starts_with("int8") { 4.0 * peak } else { peak };
        let element = if row.kernel.starts_with("int8") { 1 } else { size_of::<f32>() };
        let bytes = row.shapes.iter().map(|shape| len(shape)).sum::<usize>() * element;
        let (moved, read) = (bytes as f64 / time / 1e9, read_rate(bytes));
        let shares = [rate / peak, moved / read].map(|share| format!("{:5.1} %", 100.0 * share));
        let [of_peak, of_read] = shares;
        println!("{:28} {:9.1} us {rate:7.1} GFLOP/s {of_peak} {moved:6.1} GB/s {of_read}", row.label, time * 1e6);
    }
    strips(isa, &wanted);
}

/// Strips, in elements per nanosecond.
fn strips(isa: Isa, wanted: &str) {
    let source: Vec<f32> = (0..4096).map(|i| (i as f32 - 2048.0) / 256.0).collect();
    let mut result = vec![0.0; source.len()];
    for &strip in Strip::ALL.iter().filter(|strip| strip.name().contains(wanted)) {
        let function = table(isa).strips[strip as usize];
        // SAFETY: both arrays have the length.
        let time = seconds(|| unsafe { function(result.as_mut_ptr(), source.as_ptr(), source.len()) });
        println!("{:28} {:9.2} elements/ns", strip.name(), source.len() as f64 / time / 1e9);
    }
}
