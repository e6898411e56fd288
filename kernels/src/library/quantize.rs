//! `quantize_linear`, `dequantize_linear` and `dynamic_quantize_linear`: between floats and integers with a scale.

use super::args::{Args, Shape, error, kernels};
use super::cast::{BLOCK, Block, Rounding, read_block, write_block};
use super::codes::RoundMode;
use super::element::by_width;
use super::split::{rows, vectorized};
use crate::abi::KernelError;
use ic_types::{DType, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

kernels! {
    /// ONNX `QuantizeLinear`; `block_size` 0 unless blocked. `y_zero_point` may be absent.
    QUANTIZE_LINEAR = "quantize_linear" ["x", "y_scale", "y_zero_point"] -> ["y"] {"axis", "block_size", "saturate"}, quantize;
    /// ONNX `DequantizeLinear`; `block_size` 0 unless blocked. `x_zero_point` may be absent.
    DEQUANTIZE_LINEAR = "dequantize_linear" ["x", "x_scale", "x_zero_point"] -> ["y"] {"axis", "block_size"}, dequantize;
    /// ONNX `DynamicQuantizeLinear`.
    DYNAMIC_QUANTIZE_LINEAR = "dynamic_quantize_linear" ["x"] -> ["y", "y_scale", "y_zero_point"] {}, dynamic_quantize;
}

/// Which scale an element has.
#[derive(Clone, Copy)]
struct Granularity {
    /// Elements of the axis.
    extent: usize,
    /// Elements that follow the axis.
    inner: usize,
    /// Elements of the axis with one scale, and how many such blocks there are; 0 unless blocked.
    block: usize,
    n_blocks: usize,
    /// Number of scales.
    len: usize,
}

impl Granularity {
    fn new(args: &Args, shape: &Shape) -> Result<Granularity, KernelError> {
        let scales = args.shape(1)?;
        let (len, block) = (scales.count(), args.extent(1)?);
        let mut found = Granularity { extent: 1, inner: 1, block, n_blocks: 1, len };
        if len != 1 || block > 0 {
            let axis = args.axis(0, shape.len())?;
            found.extent = shape[axis];
            found.inner = shape[axis + 1..].iter().product();
            found.n_blocks = scales.get(axis).copied().unwrap_or(0);
            let outer: usize = shape[..axis].iter().product();
            let fits = match block {
                0 => len == found.extent,
                _ => found.n_blocks == found.extent.div_ceil(block) && len == outer * found.n_blocks * found.inner,
            };
            if !fits {
                return Err(error(format!(
                    "scales of shape {:?} do not fit axis {axis} of {:?}",
                    &scales[..],
                    &shape[..]
                )));
            }
        }
        if args.is_present(2) && args.shape(2)?.count() != len {
            return Err(error(format!("expected {len} zero points, found {}", args.shape(2)?.count())));
        }
        Ok(found)
    }

    /// The scale of element `flat`.
    fn index(&self, flat: usize) -> usize {
        if self.len == 1 {
            return 0;
        }
        let (row, column) = (flat / self.inner, flat % self.inner);
        let (outer, position) = (row / self.extent, row % self.extent);
        match position.checked_div(self.block) {
            Some(block) => (outer * self.n_blocks + block) * self.inner + column,
            None => position,
        }
    }
}

/// The numbers of a block as f32.
fn to_f32(block: &Block, i: usize) -> f32 {
    match block {
        Block::Float(v) => v[i] as f32,
        Block::Int(v) => v[i] as f32,
        Block::Uint(v) => v[i] as f32,
    }
}

/// Element `i` of input `index` as f32, read from memory of any type.
struct Numbers<'a> {
    dtype: DType,
    bytes: Source<'a>,
}

enum Source<'a> {
    One(&'a [u8]),
    Two(&'a [u16]),
    Four(&'a [u32]),
    Eight(&'a [u64]),
    Zeros,
}

impl<'a> Numbers<'a> {
    fn new(args: &Args<'a>, index: usize) -> Result<Numbers<'a>, KernelError> {
        let dtype = args.dtype(index)?;
        let bytes = match dtype.size() {
            _ if !args.is_present(index) => Source::Zeros,
            Some(1) => Source::One(args.input(index)?),
            Some(2) => Source::Two(args.input(index)?),
            Some(4) => Source::Four(args.input(index)?),
            Some(8) => Source::Eight(args.input(index)?),
            _ => return Err(error(format!("expected numbers, found {dtype}"))),
        };
        Ok(Numbers { dtype, bytes })
    }

    fn get(&self, i: usize) -> f32 {
        let block = match &self.bytes {
            Source::One(v) => read_block(&v[i..=i], self.dtype),
            Source::Two(v) => read_block(&v[i..=i], self.dtype),
            Source::Four(v) if self.dtype == DType::F32 => return f32::from_bits(v[i]),
            Source::Four(v) => read_block(&v[i..=i], self.dtype),
            Source::Eight(v) => read_block(&v[i..=i], self.dtype),
            Source::Zeros => return 0.0,
        };
        to_f32(&block, 0)
    }
}

/// Rounds `x` to `dtype` if that is a 16-bit float.
fn to_half(x: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16_to_f32(f32_to_f16(x)),
        DType::BF16 => bf16_to_f32(f32_to_bf16(x)),
        _ => x,
    }
}

/// Lowest and highest value of a quantized integer type.
fn range(dtype: DType) -> Option<(f32, f32)> {
    let half = (1u64 << dtype.bits().saturating_sub(1)) as f32;
    match dtype {
        _ if dtype.bits() > 16 => None,
        _ if dtype.is_signed_int() => Some((-half, half - 1.0)),
        _ if dtype.is_unsigned_int() => Some((0.0, 2.0 * half - 1.0)),
        _ => None,
    }
}

/// Converts blocks of `x` to `y` by `convert(x, element, index of its scale)`.
fn convert_blocks(
    args: &mut Args,
    granularity: Granularity,
    rounding: Rounding,
    convert: impl Fn(f32, usize) -> f32 + Sync,
) -> Result<(), KernelError> {
    let (from, to) = (args.dtype(0)?, args.operand(3)?.dtype);
    by_width!(from, S => by_width!(to, D => {
        let (x, y) = (args.input::<S>(0)?, args.output::<D>()?);
        if x.len() != y.len() {
            return Err(error(format!("expected {} output elements, found {}", x.len(), y.len())));
        }
        rows(args.pool(), y, 1, 16, |first, part| {
            let x = &x[first..first + part.len()];
            for (b, (y, x)) in part.chunks_mut(BLOCK).zip(x.chunks(BLOCK)).enumerate() {
                let block = read_block(x, from);
                let mut numbers = [0.0; BLOCK];
                for (i, number) in numbers.iter_mut().enumerate().take(x.len()) {
                    let scale = granularity.index(first + b * BLOCK + i);
                    *number = f64::from(convert(to_f32(&block, i), scale));
                }
                write_block(y, to, &Block::Float(numbers), rounding);
            }
        });
        Ok(())
    }))
}

fn quantize(args: &mut Args) -> Result<(), KernelError> {
    let granularity = Granularity::new(args, &args.shape(0)?)?;
    let rounding = Rounding { saturate: args.flag(2)?, mode: RoundMode::Up };
    let (from, to) = (args.dtype(0)?, args.operand(3)?.dtype);
    let (scales, zeros) = (Numbers::new(args, 1)?, Numbers::new(args, 2)?);
    // Where both are 16-bit floats of a kind, so is the quotient.
    let quotient = if scales.dtype == from { from } else { DType::F32 };
    let limits = range(to);
    convert_blocks(args, granularity, rounding, |x, i| {
        let scaled = to_half(x / scales.get(i), quotient);
        match limits {
            Some((low, high)) => (scaled.round_ties_even() + zeros.get(i)).clamp(low, high),
            None => scaled + zeros.get(i),
        }
    })
}

fn dequantize(args: &mut Args) -> Result<(), KernelError> {
    let granularity = Granularity::new(args, &args.shape(0)?)?;
    let rounding = Rounding { saturate: false, mode: RoundMode::Up };
    let (scales, zeros) = (Numbers::new(args, 1)?, Numbers::new(args, 2)?);
    convert_blocks(args, granularity, rounding, |x, i| (x - zeros.get(i)) * scales.get(i))
}

/// How floats become u8.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Steps {
    /// The scale.
    pub(crate) step: f32,
    /// The zero point, an integer.
    pub(crate) zero: f32,
}

impl Steps {
    /// Those that cover the range `(low, high)`, which includes 0.
    pub(crate) fn of((low, high): (f32, f32)) -> Steps {
        let step = if low == high { 1.0 } else { high - low } / 255.0;
        Steps { step, zero: (0.0 - low / step).clamp(0.0, 255.0).round_ties_even() }
    }
}

fn dynamic_quantize(args: &mut Args) -> Result<(), KernelError> {
    let x = args.input::<f32>(0)?;
    let (y, scale, zero) = (args.output::<u8>()?, args.output::<f32>()?, args.output::<u8>()?);
    if x.len() != y.len() || scale.len() != 1 || zero.len() != 1 {
        return Err(error("expected as many output elements as inputs, one scale and one zero point"));
    }
    let Steps { step, zero: offset } = Steps::of(bounds(x));
    (scale[0], zero[0]) = (step, offset as u8);
    rows(args.pool(), y, 1, 4, |first, part| round_to_bytes(part, &x[first..], step, offset));
    Ok(())
}

vectorized! {
    /// The smallest and the largest of `x` and 0.
    pub(crate) fn bounds(x: &[f32]) -> (f32, f32) {
        const LANES: usize = 32;
        let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
        let mut chunks = x.chunks_exact(LANES);
        for chunk in &mut chunks {
            for (i, &v) in chunk.iter().enumerate() {
                low[i] = if v < low[i] { v } else { low[i] };
                high[i] = if v > high[i] { v } else { high[i] };
            }
        }
        for (i, &v) in chunks.remainder().iter().enumerate() {
            low[i] = if v < low[i] { v } else { low[i] };
            high[i] = if v > high[i] { v } else { high[i] };
        }
        (low.iter().copied().fold(0.0, f32::min), high.iter().copied().fold(0.0, f32::max))
    }
}

vectorized! {
    /// Quantizes `x` to `y`.
    pub(crate) fn round_to_bytes(y: &mut [u8], x: &[f32], step: f32, offset: f32) {
        // Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the lower bits of what is below 2^22.
        const ROUND: f32 = 12_582_912.0;
        let offset = offset as i32 - ROUND.to_bits() as i32;
        for (y, &x) in y.iter_mut().zip(x) {
            let scaled = x / step;
            let scaled = if scaled > -1024.0 { scaled } else { -1024.0 };
            let scaled = if scaled < 1024.0 { scaled } else { 1024.0 };
            *y = ((scaled + ROUND).to_bits() as i32 + offset).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, assert_close, run, run_f32};

    #[test]
    fn quantizes_per_tensor_axis_and_block() {
        let x = [-3.0, -1.0, 0.5, 1.5, 2.5, 400.0];
        let quantized = |scale: Buffer, zero: Buffer, attrs: [i64; 3], dtype| {
            let out = vec![Buffer::out::<u8>(dtype, &[2, 3])];
            run(&QUANTIZE_LINEAR, &[Buffer::f32(&[2, 3], &x), scale, zero], &attrs, out).unwrap()[0].values::<u8>()
        };
        let zero = || Buffer::new(DType::U8, &[1], &[10u8]);
        assert_eq!(quantized(Buffer::f32(&[], &[1.0]), zero(), [1, 0, 1], DType::U8), [7, 9, 10, 12, 12, 255]);
        let found = quantized(Buffer::f32(&[3], &[1.0, 2.0, 0.25]), Buffer::absent(), [1, 0, 1], DType::I8);
        assert_eq!(found, [-3, 0, 2, 2, 1, 127].map(|v: i8| v as u8));
        let found = quantized(Buffer::f32(&[2, 2], &[1.0, 2.0, 0.5, 4.0]), Buffer::absent(), [1, 2, 1], DType::I4);
        assert_eq!(found, [-3, -1, 0, 3, 5, 7].map(|v: i8| v as u8));
        let found = quantized(Buffer::f32(&[], &[1.0]), Buffer::absent(), [1, 0, 1], DType::F8E4M3FN);
        assert_eq!(found, [0xc4, 0xb8, 0x30, 0x3c, 0x42, 0x7c]);
    }

    #[test]
    fn dequantizes() {
        let x = Buffer::new(DType::I8, &[2, 3], &[1i8, 2, 3, -4, 5, -6]);
        let inputs = [x, Buffer::f32(&[2], &[0.5, 2.0]), Buffer::new(DType::I8, &[2], &[1i8, -1])];
        assert_close(&run_f32(&DEQUANTIZE_LINEAR, &inputs, &[0, 0], &[2, 3]), &[0.0, 0.5, 1.0, -6.0, 12.0, -10.0], 0.0);
        let wrong = [Buffer::new(DType::I8, &[2], &[0i8; 2]), Buffer::f32(&[3], &[1.0; 3]), Buffer::absent()];
        assert!(run(&DEQUANTIZE_LINEAR, &wrong, &[0, 0], vec![Buffer::out::<f32>(DType::F32, &[2])]).is_err());
    }

    #[test]
    fn quantizes_dynamically() {
        for len in [1, 31, 100, 70_001] {
            let x: Vec<f32> = Random(len as u64).f32s(len).iter().map(|v| v * 3.0 + 1.0).collect();
            let out = vec![
                Buffer::out::<u8>(DType::U8, &[len]),
                Buffer::out::<f32>(DType::F32, &[]),
                Buffer::out::<u8>(DType::U8, &[]),
            ];
            let found = run(&DYNAMIC_QUANTIZE_LINEAR, &[Buffer::f32(&[len], &x)], &[], out).unwrap();
            let (low, high) = x.iter().fold((0f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
            let scale = (high - low) / 255.0;
            let zero = (-low / scale).round_ties_even();
            assert_eq!(found[1].values::<f32>(), [scale]);
            assert_eq!(found[2].values::<u8>(), [zero as u8]);
            let expected: Vec<u8> =
                x.iter().map(|v| ((v / scale).round_ties_even() + zero).clamp(0.0, 255.0) as u8).collect();
            assert_eq!(found[0].values::<u8>(), expected);
        }
    }
}
