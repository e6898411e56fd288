//! Elements of tensors as f64 or i128, in which every op that is not pointwise computes.
//!
//! Each such op rounds once, when its result is stored.

use crate::minifloat::{Overflow, decode, encode};
use crate::op::OpError;
use ic_types::{DType, Data, Tensor};

/// The elements of a float tensor. Exact.
///
/// # Errors
/// If the elements are not floats.
pub fn reals(tensor: &Tensor) -> Result<Vec<f64>, OpError> {
    let dtype = tensor.dtype();
    match tensor.data() {
        Data::F64(v) => Ok(v.clone()),
        Data::F32(v) => Ok(v.iter().map(|&x| x.into()).collect()),
        Data::F16(v) | Data::BF16(v) => Ok(v.iter().map(|&x| decode(dtype, x)).collect()),
        Data::F8E4M3FN(v) | Data::F8E4M3FNUZ(v) | Data::F8E5M2(v) | Data::F8E5M2FNUZ(v) => {
            Ok(v.iter().map(|&x| decode(dtype, x.into())).collect())
        }
        Data::F8E8M0(v) | Data::F4E2M1(v) => Ok(v.iter().map(|&x| decode(dtype, x.into())).collect()),
        _ => Err(OpError(format!("expected floats, found {dtype}"))),
    }
}

/// A tensor of a float type with these elements, rounded to nearest even; narrow floats overflow as `overflow` says.
///
/// # Errors
/// If `dtype` is not a float type.
pub fn from_reals_with(
    dtype: DType,
    shape: Vec<usize>,
    values: Vec<f64>,
    overflow: Overflow,
) -> Result<Tensor, OpError> {
    let wide = || values.iter().map(|&x| encode(dtype, x, Overflow::Special)).collect();
    let narrow = || values.iter().map(|&x| encode(dtype, x, overflow) as u8).collect();
    let data = match dtype {
        DType::F64 => Data::F64(values),
        DType::F32 => Data::F32(values.iter().map(|&x| x as f32).collect()),
        DType::F16 => Data::F16(wide()),
        DType::BF16 => Data::BF16(wide()),
        DType::F8E4M3FN => Data::F8E4M3FN(narrow()),
        DType::F8E4M3FNUZ => Data::F8E4M3FNUZ(narrow()),
        DType::F8E5M2 => Data::F8E5M2(narrow()),
        DType::F8E5M2FNUZ => Data::F8E5M2FNUZ(narrow()),
        DType::F8E8M0 => Data::F8E8M0(narrow()),
        DType::F4E2M1 => Data::F4E2M1(narrow()),
        _ => return Err(OpError(format!("expected a float type, found {dtype}"))),
    };
    Ok(Tensor::new(shape, data))
}

/// [`from_reals_with`] where 8-bit and narrower floats saturate.
///
/// # Errors
/// If `dtype` is not a float type.
pub fn from_reals(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor, OpError> {
    from_reals_with(dtype, shape, values, Overflow::Saturate)
}

/// The elements of an integer or bool tensor.
///
/// # Errors
/// If the elements are of another kind.
pub fn ints(tensor: &Tensor) -> Result<Vec<i128>, OpError> {
    Ok(match tensor.data() {
        Data::I64(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I16(v) => v.iter().map(|&x| x.into()).collect(),
        Data::I8(v) | Data::I4(v) | Data::I2(v) => v.iter().map(|&x| x.into()).collect(),
        Data::U64(v) => v.iter().map(|&x| x.into()).collect(),
        Data::U32(v) => v.iter().map(|&x| x.into()).collect(),
        Data::U16(v) => v.iter().map(|&x| x.into()).collect(),
        Data::U8(v) | Data::U4(v) | Data::U2(v) => v.iter().map(|&x| x.into()).collect(),
        Data::Bool(v) => v.iter().map(|&x| x.into()).collect(),
        data => return Err(OpError(format!("expected integers, found {}", data.dtype()))),
    })
}

/// A tensor of an integer type with the low bits of `values`, or a bool tensor that says which are not 0.
///
/// # Errors
/// If `dtype` is of another kind.
pub fn from_ints(dtype: DType, shape: Vec<usize>, values: Vec<i128>) -> Result<Tensor, OpError> {
    let values = values.into_iter();
    let signed = |bits: u32| move |x: i128| ((x as i8) << (8 - bits)) >> (8 - bits);
    let unsigned = |bits: u32| move |x: i128| ((x as u8) << (8 - bits)) >> (8 - bits);
    let data = match dtype {
        DType::I64 => Data::I64(values.map(|x| x as i64).collect()),
        DType::I32 => Data::I32(values.map(|x| x as i32).collect()),
        DType::I16 => Data::I16(values.map(|x| x as i16).collect()),
        DType::I8 => Data::I8(values.map(signed(8)).collect()),
        DType::I4 => Data::I4(values.map(signed(4)).collect()),
        DType::I2 => Data::I2(values.map(signed(2)).collect()),
        DType::U64 => Data::U64(values.map(|x| x as u64).collect()),
        DType::U32 => Data::U32(values.map(|x| x as u32).collect()),
        DType::U16 => Data::U16(values.map(|x| x as u16).collect()),
        DType::U8 => Data::U8(values.map(unsigned(8)).collect()),
        DType::U4 => Data::U4(values.map(unsigned(4)).collect()),
        DType::U2 => Data::U2(values.map(unsigned(2)).collect()),
        DType::Bool => Data::Bool(values.map(|x| x != 0).collect()),
        _ => return Err(OpError(format!("expected an integer type, found {dtype}"))),
    };
    Ok(Tensor::new(shape, data))
}

/// The elements of an integer tensor as indices.
///
/// # Errors
/// If they are not integers, or one does not fit in 64 bits.
pub fn indices(tensor: &Tensor) -> Result<Vec<i64>, OpError> {
    let fit = |x: i128| i64::try_from(x).map_err(|_| OpError(format!("{x} does not fit in 64 bits")));
    ints(tensor)?.into_iter().map(fit).collect()
}

/// Smallest and largest value of an integer type; 0 and 1 for bool.
pub fn int_range(dtype: DType) -> (i128, i128) {
    match dtype {
        DType::Bool => (0, 1),
        _ if dtype.is_signed_int() => (-(1 << (dtype.bits() - 1)), (1 << (dtype.bits() - 1)) - 1),
        _ => (0, (1 << dtype.bits()) - 1),
    }
}

/// A number in which sums of products are computed: f64, or i64 that wraps.
pub(crate) trait Number: Copy + Default {
    /// `sum + a * b`.
    fn accumulate(sum: Self, a: Self, b: Self) -> Self;
    /// `a + b`.
    fn add(a: Self, b: Self) -> Self;
    /// The elements of a tensor.
    fn read(tensor: &Tensor) -> Result<Vec<Self>, OpError>;
    /// A tensor of these elements.
    fn tensor(dtype: DType, shape: Vec<usize>, values: Vec<Self>) -> Result<Tensor, OpError>;
}

impl Number for f64 {
    fn accumulate(sum: f64, a: f64, b: f64) -> f64 {
        sum + a * b
    }
    fn add(a: f64, b: f64) -> f64 {
        a + b
    }
    fn read(tensor: &Tensor) -> Result<Vec<f64>, OpError> {
        reals(tensor)
    }
    fn tensor(dtype: DType, shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor, OpError> {
        from_reals(dtype, shape, values)
    }
}

impl Number for i64 {
    fn accumulate(sum: i64, a: i64, b: i64) -> i64 {
        sum.wrapping_add(a.wrapping_mul(b))
    }
    fn add(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
    fn read(tensor: &Tensor) -> Result<Vec<i64>, OpError> {
        Ok(ints(tensor)?.into_iter().map(|x| x as i64).collect())
    }
    fn tensor(dtype: DType, shape: Vec<usize>, values: Vec<i64>) -> Result<Tensor, OpError> {
        from_ints(dtype, shape, values.into_iter().map(i128::from).collect())
    }
}
