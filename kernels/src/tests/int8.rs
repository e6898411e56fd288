//! Integer contractions: types, zero points, odd shapes, extreme bytes, epilogues, threads, every way to multiply.

use super::epilogue_oracle;
use super::harness::{Random, Threads};
use crate::abi::{Call, EpilogueOp, Kernel, Operand, Parallel, Serial, Strip};
use crate::host::Host;
use crate::int8::kernels_of;
use crate::isa::Isa;
use crate::pack::{
    Bytes, ConvWeightShape, Int8ConvShape, Segments, int8_depthwise_segments, pack_int8_conv, pack_int8_depthwise,
    pack_int8_matmul,
};
#[cfg(target_arch = "x86_64")]
use crate::vector::amx;
use crate::vector::dot;
use ic_types::DType;

/// The kernels of every way to multiply bytes that this machine has.
fn variants() -> Vec<(&'static str, [Kernel; 4])> {
    let mut list = vec![("portable", kernels_of::<dot::PortableDot>())];
    #[cfg(target_arch = "x86_64")]
    {
        let (avx2, avx512) = (Isa::Avx2.is_supported(), Isa::Avx512.is_supported());
        if avx2 {
            list.push(("avx2", kernels_of::<dot::Avx2Dot>()));
        }
        if avx2 && std::is_x86_feature_detected!("avxvnni") {
            list.push(("avxvnni", kernels_of::<dot::AvxVnni>()));
        }
        if avx512 {
            list.push(("avx512", kernels_of::<dot::Avx512Dot>()));
        }
        if avx512 && std::is_x86_feature_detected!("avx512vnni") {
            list.push(("avx512vnni", kernels_of::<dot::Avx512Vnni>()));
        }
        match amx::is_available() {
            true => list.push(("amx", kernels_of::<dot::Avx512Amx<1>>())),
            false => eprintln!("AMX is not tested: this machine has none"),
        }
    }
    #[cfg(target_arch = "aarch64")]
    list.push(("neon", kernels_of::<dot::NeonDot>()));
    list
}

/// Bytes with a dtype and strides.
#[derive(Clone)]
struct Tensor {
    data: Vec<u8>,
    dtype: DType,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

impl Tensor {
    fn new(dtype: DType, shape: &[usize], data: Vec<u8>) -> Tensor {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1);
        }
        Tensor { data, dtype, shape, strides }
    }

    fn absent(dtype: DType) -> Tensor {
        Tensor::new(dtype, &[], Vec::new())
    }

    /// Random bytes, one in four of them extreme.
    fn random(dtype: DType, shape: &[usize], random: &mut Random) -> Tensor {
        let byte = |random: &mut Random| match random.bits() % 8 {
            0 => 0x80,
            1 => 0xff,
            2 => 0x7f,
            _ => random.bits() as u8,
        };
        Tensor::new(dtype, shape, (0..shape.iter().product()).map(|_| byte(random)).collect())
    }

    fn swapped(mut self) -> Tensor {
        let rank = self.shape.len();
        self.shape.swap(rank - 1, rank - 2);
        self.strides.swap(rank - 1, rank - 2);
        self
    }

    fn at(&self, index: &[usize]) -> i32 {
        let offset: i64 = index.iter().zip(&self.strides).map(|(&i, &stride)| i as i64 * stride).sum();
        let byte = self.data[offset as usize];
        if self.dtype == DType::I8 { i32::from(byte as i8) } else { i32::from(byte) }
    }

    fn zero(&self, index: usize) -> i32 {
        match self.data.len() {
            0 => 0,
            1 => Tensor { shape: vec![1], strides: vec![1], ..self.clone() }.at(&[0]),
            _ => self.at(&[index]),
        }
    }

    fn operand(&mut self) -> Operand<'_> {
        let absent = self.shape.is_empty() && self.data.is_empty();
        let data = if absent { std::ptr::null_mut() } else { self.data.as_mut_ptr() };
        Operand { data, dtype: self.dtype, shape: &self.shape, strides: &self.strides }
    }
}

/// Runs a kernel on guarded scratch; gives the bytes of the result.
fn run(kernel: &Kernel, operands: &[Tensor], attrs: &[i64], epilogue: &[EpilogueOp], pool: &dyn Parallel) -> Vec<u8> {
    let mut operands = operands.to_vec();
    let list: Vec<Operand> = operands.iter_mut().map(Tensor::operand).collect();
    let bytes = (kernel.scratch)(&list, attrs, pool.threads());
    let mut scratch = vec![0x7fu8; bytes + 128];
    let start = scratch.as_ptr().align_offset(64);
    let scratch_at = scratch[start..].as_mut_ptr();
    let call = Call {
        operands: &list,
        attrs,
        epilogue,
        callback: None,
        scratch: scratch_at,
        pool,
        pieces: false,
        host: Host::none(),
    };
    // SAFETY: the operands are valid and the scratch has the size that the kernel asked for.
    unsafe { (kernel.run)(&call) }.expect("the kernel runs");
    assert!(scratch[start + bytes..].iter().all(|&byte| byte == 0x7f), "{} wrote past its scratch", kernel.name);
    operands.pop().expect("the result is last").data
}

/// Checks a call against sums that were computed plainly, in the order of the result's elements: as i32, as f32 and as
/// bytes.
fn check(kernel: usize, operands: &[Tensor], attrs: &[i64], sums: &[i32], columns: usize, what: &str) {
    let mut random = Random::new(7);
    let vectors: Vec<Vec<f32>> = (0..2).map(|_| random.values(columns.max(1))).collect();
    let residual: Vec<u8> = (0..sums.len().max(1)).map(|_| random.bits() as u8).collect();
    let (scale, bias) = (EpilogueOp::MulColumn(vectors[0].as_ptr()), EpilogueOp::AddColumn(vectors[1].as_ptr()));
    let add = |signed| EpilogueOp::AddQuantized { tensor: residual.as_ptr(), signed, scale: 5.5, zero: 3.0 };
    let unsigned = EpilogueOp::Quantize { scale: 30.7, zero: 100.0, low: 0.0, high: 255.0 };
    let unit = EpilogueOp::Quantize { scale: 1.0, zero: 100.0, low: 0.0, high: 255.0 };
    let back = EpilogueOp::Offset(-100.0);
    let signed = EpilogueOp::Quantize { scale: 11.3, zero: -7.0, low: -128.0, high: 127.0 };
    let cases: &[(DType, &[EpilogueOp])] = &[
        (DType::I32, &[]),
        (DType::F32, &[scale, bias]),
        (DType::F32, &[EpilogueOp::MulScalar(vectors[0].as_ptr()), EpilogueOp::Strip(Strip::Tanh)]),
        (DType::U8, &[scale, bias, unsigned]),
        (DType::U8, &[scale, bias, unit]),
        // Beyond the integers.
        (DType::U8, &[EpilogueOp::Scale(3e6), unit]),
        (DType::U8, &[scale, bias, unsigned, back, EpilogueOp::Scale(30.7), add(false), unsigned]),
        (DType::U8, &[EpilogueOp::Scale(0.37), unit, back, EpilogueOp::Scale(0.7), add(true), unit]),
        (DType::U8, &[EpilogueOp::Scale(0.37), bias, EpilogueOp::Strip(Strip::Relu), unsigned]),
        (
            DType::U8,
            &[EpilogueOp::Scale(0.37), bias, EpilogueOp::Strip(Strip::Gelu), EpilogueOp::Strip(Strip::Silu), unsigned],
        ),
        (
            DType::I8,
            &[
                scale,
                bias,
                unsigned,
                EpilogueOp::Offset(-100.0),
                EpilogueOp::Scale(30.7),
                add(false),
                EpilogueOp::Clamp(-9e3, 9e3),
                signed,
            ],
        ),
        (DType::I8, &[EpilogueOp::Offset(1.5), add(true), signed]),
    ];
    for (dtype, epilogue) in cases {
        let size = dtype.size().expect("a plain type");
        let (last, inputs) = operands.split_last().expect("there is a result");
        let y = Tensor { data: vec![0x55; sums.len() * size], dtype: *dtype, ..last.clone() };
        let operands = [inputs, &[y]].concat();
        let expected: Vec<u8> = sums
            .iter()
            .enumerate()
            .flat_map(|(i, &sum)| {
                // SAFETY: the vectors cover the columns, the residual the result.
                let value = unsafe { epilogue_oracle::eval(epilogue, sum as f32, i % columns, i) };
                match dtype {
                    DType::I32 => sum.to_le_bytes().to_vec(),
                    DType::F32 => value.to_le_bytes().to_vec(),
                    _ => vec![value as i32 as u8],
                }
            })
            .collect();
        for (name, kernels) in variants() {
            for pool in [&Serial as &dyn Parallel, &Threads(2)] {
                let found = run(&kernels[kernel], &operands, attrs, epilogue, pool);
                let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "{what} to {dtype} on {name}, {} threads", pool.threads());
            }
        }
    }
}

/// Zero points for `n` columns: absent, one, or one for each.
fn zero_points(dtype: DType, n: usize, random: &mut Random) -> [Tensor; 3] {
    [Tensor::absent(dtype), Tensor::random(dtype, &[1], random), Tensor::random(dtype, &[n.max(1)], random)]
}

/// A bias of `n` i32, or none.
fn bias_of(n: usize, present: bool, random: &mut Random) -> Tensor {
    if !present || n == 0 {
        return Tensor::absent(DType::I32);
    }
    let terms = (0..n).flat_map(|_| (random.bits() as i32 >> 8).to_le_bytes().to_vec());
    Tensor::new(DType::I32, &[n], terms.collect())
}

fn bias_at(bias: &Tensor, column: usize) -> i32 {
    let bytes = bias.data.get(column * 4..column * 4 + 4);
    bytes.map_or(0, |bytes| i32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

fn check_matmul(batch: &[usize], [m, k, n]: [usize; 3], [a, b]: [DType; 2], zeros: [usize; 2], random: &mut Random) {
    let a_zero = zero_points(a, 1, random)[zeros[0]].clone();
    let b_zero = zero_points(b, n, random)[zeros[1]].clone();
    let left = Tensor::random(a, &[batch, &[m, k]].concat(), random);
    let right = Tensor::random(b, &[batch, &[k, n]].concat(), random);
    let turned = Tensor::random(b, &[batch, &[n, k]].concat(), random).swapped();
    let bias = bias_of(n, k % 2 == 0, random);
    let y = Tensor::new(DType::I32, &[batch, &[m, n]].concat(), Vec::new());
    for (right, packed) in [(&right, false), (&turned, false), (&right, true)] {
        if packed && !batch.is_empty() {
            continue;
        }
        let batches: usize = batch.iter().product();
        let mut sums = Vec::new();
        for (i, row, column) in (0..batches).flat_map(|i| (0..m).flat_map(move |r| (0..n).map(move |c| (i, r, c)))) {
            let at = |t: &Tensor, row: usize, column: usize| match batch {
                [] => t.at(&[row, column]),
                _ => t.at(&[i, row, column]),
            };
            let product =
                |x: usize| (at(&left, row, x) - a_zero.zero(0)) * (at(right, x, column) - b_zero.zero(column));
            sums.push((0..k).map(product).sum::<i32>() + bias_at(&bias, column));
        }
        let mut b = right.clone();
        if packed {
            let bytes = if b.dtype == DType::U8 { Bytes::Unsigned } else { Bytes::Signed };
            b.data = vec![0; Segments { count: 1, len: k }.packed_bytes(n)];
            pack_int8_matmul(k, n, bytes, &right.data, &mut b.data);
        }
        let what = format!("{batch:?} {m}x{k}x{n} {:?} zeros {zeros:?} packed {packed}", (left.dtype, b.dtype));
        let operands = [left.clone(), b, a_zero.clone(), b_zero.clone(), bias.clone(), y.clone()];
        check(usize::from(packed), &operands, &[], &sums, n, &what);
    }
}

#[test]
fn matrix_products_of_odd_shapes() {
    let mut random = Random::new(11);
    let types = [DType::U8, DType::I8];
    let shapes = [
        [1, 1, 1],
        [0, 3, 4],
        [3, 0, 5],
        [4, 7, 0],
        [5, 4, 16],
        [11, 5, 17],
        [12, 64, 33],
        [13, 67, 31],
        [25, 130, 70],
        [16, 64, 64],
        [17, 63, 49],
        [33, 65, 80],
        [7, 192, 130],
        [65, 128, 15],
    ];
    for (i, shape) in shapes.into_iter().enumerate() {
        for (a, b) in [(0, 1), (1, 1), (0, 0), (1, 0)] {
            check_matmul(&[], shape, [types[a], types[b]], [(i + a) % 2, (i + b) % 3], &mut random);
        }
    }
}

#[test]
fn matrix_products_in_batches() {
    let mut random = Random::new(12);
    check_matmul(&[4], [5, 33, 18], [DType::U8, DType::U8], [1, 1], &mut random);
    check_matmul(&[3], [1, 16, 40], [DType::I8, DType::I8], [1, 0], &mut random);
}

#[test]
fn sums_of_extreme_bytes_do_not_saturate() {
    for (a, b) in [(255, 127), (255, 128), (128, 128)] {
        let (left, right) = (vec![a as u8; 3 * 300], vec![b as u8; 300 * 20]);
        let mut packed = vec![0; Segments { count: 1, len: 300 }.packed_bytes(20)];
        pack_int8_matmul(300, 20, Bytes::Signed, &right, &mut packed);
        let operands = [
            Tensor::new(DType::U8, &[3, 300], left),
            Tensor { data: packed, ..Tensor::new(DType::I8, &[300, 20], Vec::new()) },
            Tensor::absent(DType::U8),
            Tensor::absent(DType::I8),
            Tensor::absent(DType::I32),
            Tensor::new(DType::I32, &[3, 20], Vec::new()),
        ];
        check(1, &operands, &[], &[300 * a * i32::from(b as u8 as i8); 60], 20, "extreme bytes");
    }
}

/// A convolution; pairs are (height, width).
#[derive(Clone, Copy, Debug)]
struct Case {
    size: [usize; 2],
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: usize,
    dilation: [usize; 2],
    groups: usize,
}

const CASE: Case =
    Case { size: [6, 9], inputs: 5, outputs: 18, kernel: [3, 3], stride: [1, 1], pad: 1, dilation: [1, 1], groups: 1 };

fn check_conv(case: Case, [x, w]: [DType; 2], zeros: [usize; 2], random: &mut Random) {
    let Case { size, inputs, outputs, kernel, stride, pad, dilation, groups } = case;
    let extent = |d: usize| (size[d] + 2 * pad - (dilation[d] * (kernel[d] - 1) + 1)) / stride[d] + 1;
    let (image, depth) = (Tensor::random(x, &[2, size[0], size[1], inputs], random), inputs / groups);
    let weights = Tensor::random(w, &[outputs, depth, kernel[0], kernel[1]], random);
    let x_zero = zero_points(x, 1, random)[zeros[0]].clone();
    let w_zero = zero_points(w, outputs, random)[zeros[1]].clone();
    let bias = bias_of(outputs, inputs % 2 == 0, random);
    let mut sums = Vec::new();
    for pixel in 0..2 * extent(0) * extent(1) {
        let (n, i, j) = (pixel / extent(1) / extent(0), pixel / extent(1) % extent(0), pixel % extent(1));
        for o in 0..outputs {
            let mut sum = bias_at(&bias, o);
            for (c, kh, kw) in
                (0..depth).flat_map(|c| (0..kernel[0]).flat_map(move |h| (0..kernel[1]).map(move |w| (c, h, w))))
            {
                let h = (i * stride[0] + kh * dilation[0]).wrapping_sub(pad);
                let w = (j * stride[1] + kw * dilation[1]).wrapping_sub(pad);
                if h < size[0] && w < size[1] {
                    let x = image.at(&[n, h, w, o / (outputs / groups) * depth + c]) - x_zero.zero(0);
                    sum += x * (weights.at(&[o, c, kh, kw]) - w_zero.zero(o));
                }
            }
            sums.push(sum);
        }
    }
    let pairs = [kernel, stride, [pad; 2], dilation].concat();
    let attrs: Vec<i64> = pairs.iter().chain([&groups]).map(|&value| value as i64).collect();
    let bytes = if w == DType::U8 { Bytes::Unsigned } else { Bytes::Signed };
    let shape = ConvWeightShape { outputs, inputs: depth, kernel_h: kernel[0], kernel_w: kernel[1], groups };
    let shape = Int8ConvShape { weights: shape, dilation_w: dilation[1] };
    let y = Tensor::new(DType::I32, &[2, extent(0), extent(1), outputs], Vec::new());
    let mut packed = Tensor { data: vec![0; shape.packed_bytes()], ..weights.clone() };
    pack_int8_conv(shape, bytes, &weights.data, &mut packed.data);
    let operands = [image, packed, x_zero, w_zero, bias, y];
    let what = format!("{case:?} {:?} zeros {zeros:?}", (x, w));
    check(2, &operands, &attrs, &sums, outputs, &what);
    if depth == 1 && groups == outputs {
        let mut operands = operands;
        operands[1].data = vec![0; int8_depthwise_segments(kernel).packed_bytes(outputs)];
        pack_int8_depthwise(outputs, kernel, bytes, &weights.data, &mut operands[1].data);
        check(3, &operands, &attrs, &sums, outputs, &format!("depthwise {what}"));
    }
}

#[test]
fn convolutions() {
    let mut random = Random::new(13);
    let (u, s) = (DType::U8, DType::I8);
    check_conv(CASE, [u, s], [1, 0], &mut random);
    check_conv(CASE, [s, u], [1, 2], &mut random);
    check_conv(Case { inputs: 8, stride: [2, 2], ..CASE }, [u, s], [1, 2], &mut random);
    check_conv(Case { inputs: 4, kernel: [1, 1], pad: 0, outputs: 33, ..CASE }, [s, s], [1, 0], &mut random);
    check_conv(Case { inputs: 3, kernel: [5, 4], pad: 2, stride: [2, 2], ..CASE }, [u, s], [1, 0], &mut random);
    check_conv(Case { inputs: 3, dilation: [2, 2], pad: 2, ..CASE }, [u, u], [1, 1], &mut random);
    check_conv(Case { inputs: 6, groups: 2, outputs: 10, ..CASE }, [u, s], [1, 0], &mut random);
    // Taps that end within, at and beyond 64 bytes.
    for inputs in [24, 64, 96, 100] {
        check_conv(Case { inputs, outputs: 34, size: [5, 37], ..CASE }, [u, s], [1, 2], &mut random);
    }
}

#[test]
fn depthwise_convolutions() {
    let mut random = Random::new(14);
    let (u, s) = (DType::U8, DType::I8);
    let case = Case { inputs: 19, outputs: 19, groups: 19, ..CASE };
    check_conv(case, [u, s], [1, 0], &mut random);
    check_conv(Case { stride: [2, 2], ..case }, [s, u], [1, 2], &mut random);
    check_conv(Case { kernel: [5, 5], pad: 2, ..case }, [u, s], [0, 2], &mut random);
    check_conv(Case { kernel: [2, 1], dilation: [2, 1], ..case }, [u, u], [1, 1], &mut random);
    for (kernel, stride) in [([3, 3], 1), ([3, 3], 2), ([5, 5], 1), ([5, 5], 2), ([7, 6], 1)] {
        // Lines of one tile, of several and of less than a filter.
        for size in [[1, 2], [2, 17]] {
            let pad = kernel[0] / 2;
            let case = Case { kernel, pad, stride: [stride; 2], size, ..case };
            check_conv(case, [u, s], [1, 0], &mut random);
        }
    }
    // Channels of several vectors, whole and cut.
    for (channels, kernel, stride) in [(64, 3, 1), (33, 3, 2), (83, 5, 1), (48, 5, 2), (130, 7, 1), (70, 4, 1)] {
        let case = Case { inputs: channels, outputs: channels, groups: channels, size: [3, 18], ..case };
        let case = Case { kernel: [kernel; 2], pad: kernel / 2, stride: [stride; 2], ..case };
        check_conv(case, [u, s], [1, 0], &mut random);
        check_conv(case, [s, u], [1, 2], &mut random);
    }
}
