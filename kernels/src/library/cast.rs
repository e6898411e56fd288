//! `cast`: between any two number types, by ONNX's rules.
//!
//! Elements pass through blocks of f64 or 64-bit integers, which hold every value of every type, so that each type is read
//! and written in one place. Conversions between f32 and 16-bit floats are direct.

use super::args::{Args, error, kernels};
use super::codes::RoundMode;
use super::element::by_width;
use super::minifloat::{Format, decode_e8m0};
use super::split::rows;
use super::strided::copy_dense;
use crate::abi::KernelError;
use ic_types::{DType, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

kernels! {
    /// ONNX `Cast` between any two types but strings and complex numbers; `round_mode` is a `RoundMode`, for f8e8m0.
    CAST = "cast" ["x"] -> ["y"] {"saturate", "round_mode"}, cast;
}

/// Elements converted together.
pub(crate) const BLOCK: usize = 64;

/// A block of numbers.
pub(crate) enum Block {
    /// Any float.
    Float([f64; BLOCK]),
    /// Signed integers.
    Int([i64; BLOCK]),
    /// Unsigned integers and booleans.
    Uint([u64; BLOCK]),
}

/// How floats are narrowed.
#[derive(Clone, Copy)]
pub(crate) struct Rounding {
    /// Whether what is too large becomes the largest value of an 8-bit float.
    pub(crate) saturate: bool,
    /// How exponent-only floats round.
    pub(crate) mode: RoundMode,
}

fn cast(args: &mut Args) -> Result<(), KernelError> {
    let rounding = Rounding { saturate: args.flag(0)?, mode: RoundMode::from_code(args.attr(1)?)? };
    let (from, to) = (args.dtype(0)?, args.operand(1)?.dtype);
    match (from, to) {
        _ if from == to => by_width!(from, T => {
            let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
            check_len(x.len(), y.len())?;
            copy_dense(args.pool(), y, x);
            Ok(())
        }),
        (DType::F32, DType::F16) => direct::<u32, u16>(args, |x| f32_to_f16(f32::from_bits(x))),
        (DType::F16, DType::F32) => direct::<u16, u32>(args, |x| f16_to_f32(x).to_bits()),
        (DType::F32, DType::BF16) => direct::<u32, u16>(args, |x| f32_to_bf16(f32::from_bits(x))),
        (DType::BF16, DType::F32) => direct::<u16, u32>(args, |x| bf16_to_f32(x).to_bits()),
        _ => by_width!(from, S => by_width!(to, D => {
            let (x, y) = (args.input::<S>(0)?, args.output::<D>()?);
            check_len(x.len(), y.len())?;
            check_castable(from)?;
            check_castable(to)?;
            rows(args.pool(), y, 1, 8, |first, part| {
                let x = &x[first..first + part.len()];
                for (y, x) in part.chunks_mut(BLOCK).zip(x.chunks(BLOCK)) {
                    write_block(y, to, &read_block(x, from), rounding);
                }
            });
            Ok(())
        })),
    }
}

fn check_len(x: usize, y: usize) -> Result<(), KernelError> {
    if x == y { Ok(()) } else { Err(error(format!("expected {x} output elements, found {y}"))) }
}

fn check_castable(dtype: DType) -> Result<(), KernelError> {
    match dtype {
        DType::C64 | DType::C128 | DType::String => Err(error(format!("not supported: a cast of {dtype}"))),
        _ => Ok(()),
    }
}

/// Converts element by element.
fn direct<S: super::element::Element, D: super::element::Element>(
    args: &mut Args,
    convert: impl Fn(S) -> D + Sync,
) -> Result<(), KernelError> {
    let (x, y) = (args.input::<S>(0)?, args.output::<D>()?);
    check_len(x.len(), y.len())?;
    rows(args.pool(), y, 1, 1, |first, part| {
        for (y, &x) in part.iter_mut().zip(&x[first..]) {
            *y = convert(x);
        }
    });
    Ok(())
}

/// An element as wide as its type, whatever it stands for.
pub(crate) trait Bits: Copy {
    /// The bits, in the lower part.
    fn to_bits(self) -> u64;
    /// The lower part of `bits`.
    fn from_bits(bits: u64) -> Self;
}

macro_rules! bits {
    ($($ty:ty)*) => {$(
        impl Bits for $ty {
            fn to_bits(self) -> u64 { self as u64 }
            fn from_bits(bits: u64) -> Self { bits as $ty }
        }
    )*};
}

bits! { u8 u16 u32 u64 }

impl Bits for super::element::Wide {
    fn to_bits(self) -> u64 {
        self[0]
    }

    fn from_bits(bits: u64) -> Self {
        [bits, 0]
    }
}

/// Up to [`BLOCK`] elements of type `dtype`.
pub(crate) fn read_block<T: Bits>(x: &[T], dtype: DType) -> Block {
    fn each<T: Bits, N: Copy + Default>(x: &[T], convert: impl Fn(u64) -> N) -> [N; BLOCK] {
        let mut block = [N::default(); BLOCK];
        block.iter_mut().zip(x).for_each(|(to, &x)| *to = convert(x.to_bits()));
        block
    }
    match dtype {
        DType::F32 => Block::Float(each(x, |bits| f64::from(f32::from_bits(bits as u32)))),
        DType::F64 => Block::Float(each(x, f64::from_bits)),
        DType::F16 => Block::Float(each(x, |bits| f64::from(f16_to_f32(bits as u16)))),
        DType::BF16 => Block::Float(each(x, |bits| f64::from(bf16_to_f32(bits as u16)))),
        DType::F8E8M0 => Block::Float(each(x, |bits| decode_e8m0(bits as u8))),
        DType::I64 => Block::Int(each(x, |bits| bits as i64)),
        DType::I32 => Block::Int(each(x, |bits| i64::from(bits as i32))),
        DType::I16 => Block::Int(each(x, |bits| i64::from(bits as i16))),
        DType::I8 | DType::I4 | DType::I2 => Block::Int(each(x, |bits| i64::from(bits as i8))),
        _ => match Format::of(dtype) {
            Some(format) => Block::Float(each(x, |bits| format.decode(bits as u16))),
            None => Block::Uint(each(x, |bits| bits)),
        },
    }
}

/// Writes the first numbers of `block` as elements of type `dtype`.
pub(crate) fn write_block<T: Bits>(y: &mut [T], dtype: DType, block: &Block, rounding: Rounding) {
    for (i, y) in y.iter_mut().enumerate() {
        let bits = match block {
            Block::Float(v) => from_float(v[i], dtype, rounding),
            Block::Int(v) => from_int(v[i], v[i] as f64, v[i] as f32, dtype, rounding),
            Block::Uint(v) => from_int(v[i] as i64, v[i] as f64, v[i] as f32, dtype, rounding),
        };
        *y = T::from_bits(bits);
    }
}

/// The bits of `x` as `dtype`. Integers are the low bits of `x` truncated to 64 bits.
fn from_float(x: f64, dtype: DType, rounding: Rounding) -> u64 {
    match dtype {
        DType::F64 => x.to_bits(),
        DType::F32 => u64::from((x as f32).to_bits()),
        DType::Bool => u64::from(x != 0.0),
        DType::I64 => x as i64 as u64,
        DType::U64 if x >= 0.0 => x as u64,
        DType::F8E8M0 => u64::from(to_e8m0(x as f32, rounding)),
        _ => match Format::of(dtype) {
            Some(format) => u64::from(format.encode(x, rounding.saturate && dtype.bits() == 8)),
            None => wrap(x as i64, dtype),
        },
    }
}

/// The bits of an integer, also given as floats, as `dtype`.
fn from_int(x: i64, as_f64: f64, as_f32: f32, dtype: DType, rounding: Rounding) -> u64 {
    match dtype {
        DType::F64 => as_f64.to_bits(),
        DType::F32 => u64::from(as_f32.to_bits()),
        DType::Bool => u64::from(x != 0),
        _ if dtype.is_float() => from_float(as_f64, dtype, rounding),
        _ => wrap(x, dtype),
    }
}

/// The lower bits of `x`, sign-extended within a byte for signed types below 8 bits.
fn wrap(x: i64, dtype: DType) -> u64 {
    match dtype {
        DType::I4 => (x << 60 >> 60) as u64,
        DType::I2 => (x << 62 >> 62) as u64,
        DType::U4 => x as u64 & 0xf,
        DType::U2 => x as u64 & 0x3,
        _ => x as u64,
    }
}

/// The exponent of `x` in f32, rounded.
fn to_e8m0(x: f32, rounding: Rounding) -> u8 {
    let bits = x.to_bits();
    let (exponent, mantissa) = ((bits >> 23) as u8, bits & 0x7f_ffff);
    if exponent == 0xff {
        return 0xff;
    }
    let up = match rounding.mode {
        RoundMode::Up => mantissa > 0,
        RoundMode::Down => false,
        // A tie goes up, except from the lowest exponent.
        RoundMode::Nearest => mantissa > 0x40_0000 || (mantissa == 0x40_0000 && exponent > 0),
    };
    if up && !(rounding.saturate && exponent == 0xfe) { exponent + 1 } else { exponent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run};

    fn to_bytes(dtype: DType, x: &[f32], saturate: i64) -> Vec<u8> {
        let out = vec![Buffer::out::<u8>(dtype, &[x.len()])];
        run(&CAST, &[Buffer::f32(&[x.len()], x)], &[saturate, 0], out).unwrap()[0].values()
    }

    const SPECIAL: [f32; 14] = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        1e9,
        -1e9,
        464.0,
        463.9,
        1e-9,
        -1e-9,
        61440.0,
        -5.1,
        0.75,
    ];

    #[test]
    fn eight_bit_floats_follow_the_reference() {
        let check =
            |dtype, saturate, expected: [u8; 14]| assert_eq!(to_bytes(dtype, &SPECIAL, saturate), expected, "{dtype}");
        check(DType::F8E4M3FN, 0, [0x7f, 0x7f, 0xff, 0, 0x80, 0x7f, 0xff, 0x7f, 0x7e, 0, 0x80, 0x7f, 0xca, 0x34]);
        check(DType::F8E4M3FN, 1, [0x7f, 0x7e, 0xfe, 0, 0x80, 0x7e, 0xfe, 0x7e, 0x7e, 0, 0x80, 0x7e, 0xca, 0x34]);
        check(DType::F8E4M3FNUZ, 0, [0x80, 0x80, 0x80, 0, 0, 0x80, 0x80, 0x80, 0x80, 0, 0, 0x80, 0xd2, 0x3c]);
        check(DType::F8E4M3FNUZ, 1, [0x80, 0x7f, 0xff, 0, 0, 0x7f, 0xff, 0x7f, 0x7f, 0, 0, 0x7f, 0xd2, 0x3c]);
        check(DType::F8E5M2, 0, [0x7e, 0x7c, 0xfc, 0, 0x80, 0x7c, 0xfc, 0x5f, 0x5f, 0, 0x80, 0x7c, 0xc5, 0x3a]);
        check(DType::F8E5M2, 1, [0x7e, 0x7b, 0xfb, 0, 0x80, 0x7b, 0xfb, 0x5f, 0x5f, 0, 0x80, 0x7b, 0xc5, 0x3a]);
        check(DType::F8E5M2FNUZ, 0, [0x80, 0x80, 0x80, 0, 0, 0x80, 0x80, 0x63, 0x63, 0, 0, 0x80, 0xc9, 0x3e]);
        check(DType::F4E2M1, 1, [0x8, 0x7, 0xf, 0, 0x8, 0x7, 0xf, 0x7, 0x7, 0, 0x8, 0x7, 0xf, 0x2]);
    }

    #[test]
    fn small_floats_round_trip() {
        for &dtype in DType::ALL {
            let Some(format) = Format::of(dtype) else { continue };
            for code in 0..1u32 << dtype.bits() {
                let value = format.decode(code as u16);
                if !value.is_nan() {
                    assert_eq!(u32::from(format.encode(value, false)), code, "{dtype} {value}");
                }
            }
        }
        for code in 1..=0xfe {
            assert_eq!(to_e8m0(decode_e8m0(code) as f32, Rounding { saturate: true, mode: RoundMode::Up }), code);
        }
    }

    #[test]
    fn f64_rounds_once() {
        let x = [2049.0 + 1e-7, 65519.99, 65520.0, 5.960464477539063e-8, 2.98e-8, 2.99e-8];
        let input = Buffer::new(DType::F64, &[6], &x);
        let found = run(&CAST, &[input], &[1, 0], vec![Buffer::out::<u16>(DType::F16, &[6])]).unwrap();
        assert_eq!(found[0].values::<u16>(), [0x6801, 0x7bff, 0x7c00, 1, 0, 1]);
    }

    #[test]
    fn small_integers_wrap() {
        let x = [-9.0, -8.0, -2.7, -1.5, 0.5, 2.5, 7.5, 8.0, 17.0];
        assert_eq!(to_bytes(DType::I4, &x, 1), [7, -8, -2, -1, 0, 2, 7, -8, 1].map(|v: i8| v as u8));
        assert_eq!(to_bytes(DType::U4, &x, 1), [7, 8, 14, 15, 0, 2, 7, 8, 1]);
        assert_eq!(to_bytes(DType::I2, &x, 1), [-1, 0, -2, -1, 0, -2, -1, 0, 1].map(|v: i8| v as u8));
        let wide = Buffer::i64(&[3], &[200, -1, 1 << 40]);
        let found = run(&CAST, &[wide], &[1, 0], vec![Buffer::out::<i8>(DType::I8, &[3])]).unwrap();
        assert_eq!(found[0].values::<i8>(), [-56, -1, 0]);
    }

    #[test]
    fn integers_become_floats_and_booleans() {
        let x = || [Buffer::new(DType::U64, &[3], &[0u64, 1, u64::MAX])];
        let found = run(&CAST, &x(), &[1, 0], vec![Buffer::out::<f32>(DType::F32, &[3])]).unwrap();
        assert_eq!(found[0].values::<f32>(), [0.0, 1.0, 18_446_744_073_709_551_615.0]);
        let found = run(&CAST, &x(), &[1, 0], vec![Buffer::out::<u8>(DType::Bool, &[3])]).unwrap();
        assert_eq!(found[0].values::<u8>(), [0, 1, 1]);
        let long: Vec<i64> = (0..1000).collect();
        let found = run(&CAST, &[Buffer::i64(&[1000], &long)], &[1, 0], vec![Buffer::out::<u16>(DType::F16, &[1000])]);
        assert!(found.unwrap()[0].values::<u16>().iter().zip(0..).all(|(&bits, i)| f16_to_f32(bits) == i as f32));
    }
}
