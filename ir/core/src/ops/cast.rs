//! `cast`: element-wise conversion of the element type. ONNX `Cast`, opset 24, with the default rounding mode.

use crate::eval::{from_ints, from_reals, from_reals_with, ints, reals};
use crate::minifloat::Overflow;
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Dim, Tensor};

crate::attrs! {
    /// Elements converted to another type.
    ///
    /// Floats round to nearest even. Floats become integers by truncation to 64 bits, then by keeping the low bits, as
    /// integers become narrower integers; NaN becomes 0. Numbers become bool by comparison with 0.
    Cast {
        /// The result's element type.
        to: DType,
        /// Whether what exceeds an 8-bit float becomes its largest value rather than infinity or NaN.
        saturate: bool = true
    }
}

impl OpDef for Cast {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let complex = |dtype| matches!(dtype, DType::C64 | DType::C128 | DType::Object);
        let fits = self.to == ty.dtype || !complex(ty.dtype) && !complex(self.to);
        ensure!(fits, "cannot cast {} to {}", ty.dtype, self.to);
        Ok(vec![TensorType::new(self.to, ty.shape.clone()).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        let content = x.content(0)?;
        match self.to {
            DType::Bool => content.iter().map(crate::scalar::truth).collect(),
            _ => Some(content.to_vec()),
        }
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let shape = input.shape().to_vec();
        if input.dtype() == self.to {
            return Ok(vec![input.clone()]);
        }
        Ok(vec![match input.data() {
            Data::String(v) => Tensor::new(shape.clone(), self.cast_strings(&shape, v)?),
            _ if input.dtype().is_float() => self.cast_floats(shape, input, reals(input)?)?,
            _ => self.cast_integers(shape, input.dtype() == DType::Bool, ints(input)?)?,
        }])
    }
}

impl Cast {
    fn cast_floats(&self, shape: Vec<usize>, input: &Tensor, values: Vec<f64>) -> Result<Tensor, OpError> {
        let overflow = if self.saturate { Overflow::Saturate } else { Overflow::Special };
        match self.to {
            DType::String => {
                let text = |&x: &f64| if input.dtype() == DType::F64 { real_text(x) } else { real_text(x as f32) };
                Ok(Tensor::from_elements(shape, values.iter().map(text).collect::<Vec<String>>()))
            }
            DType::Bool => Ok(Tensor::from_elements(shape, values.iter().map(|&x| x != 0.0).collect())),
            DType::U64 => from_ints(self.to, shape, values.iter().map(|&x| unsigned_of(x)).collect()),
            _ if self.to.is_float() => from_reals_with(self.to, shape, values, overflow),
            _ => from_ints(self.to, shape, values.iter().map(|&x| (x as i64).into()).collect()),
        }
    }

    fn cast_integers(&self, shape: Vec<usize>, is_bool: bool, values: Vec<i128>) -> Result<Tensor, OpError> {
        let text = |&x: &i128| match is_bool {
            true => if x == 0 { "False" } else { "True" }.to_string(),
            false => x.to_string(),
        };
        match self.to {
            DType::String => Ok(Tensor::from_elements(shape, values.iter().map(text).collect::<Vec<String>>())),
            // Rounds once, which a way through f64 would not.
            DType::F32 => Ok(Tensor::from_elements(shape, values.iter().map(|&x| x as f32).collect())),
            _ if self.to.is_float() => from_reals(self.to, shape, values.iter().map(|&x| x as f64).collect()),
            _ => from_ints(self.to, shape, values),
        }
    }

    fn cast_strings(&self, shape: &[usize], texts: &[String]) -> Result<Data, OpError> {
        let error = |text: &str| OpError(format!("cannot read \"{text}\" as {}", self.to));
        let shape = shape.to_vec();
        let tensor = match self.to {
            // Rounds once, which a way through f64 would not.
            DType::F32 => {
                let parse = |t: &String| t.trim().parse::<f32>().map_err(|_| error(t));
                Tensor::from_elements(shape, texts.iter().map(parse).collect::<Result<Vec<f32>, _>>()?)
            }
            DType::Bool => {
                let parse = |t: &String| match t.trim().to_ascii_lowercase().as_str() {
                    "true" | "1" => Ok(true),
                    "false" | "0" => Ok(false),
                    _ => Err(error(t)),
                };
                Tensor::from_elements(shape, texts.iter().map(parse).collect::<Result<Vec<bool>, _>>()?)
            }
            _ if self.to.is_float() => {
                let parse = |t: &String| t.trim().parse::<f64>().map_err(|_| error(t));
                from_reals(self.to, shape, texts.iter().map(parse).collect::<Result<_, _>>()?)?
            }
            _ => {
                let parse = |t: &String| {
                    let real = || t.trim().parse::<f64>().map(|x| i128::from(x as i64));
                    t.trim().parse::<i128>().or_else(|_| real()).map_err(|_| error(t))
                };
                from_ints(self.to, shape, texts.iter().map(parse).collect::<Result<_, _>>()?)?
            }
        };
        Ok(tensor.data().clone())
    }
}

/// Negative values wrap as in 64-bit arithmetic.
fn unsigned_of(x: f64) -> i128 {
    if x < 0.0 { (x as i64).into() } else { (x as u64).into() }
}

/// The shortest decimal that reads back as the same float, spelled as Python's `str` does.
fn real_text<T: Into<f64> + Copy + std::fmt::LowerExp>(x: T) -> String {
    let wide: f64 = x.into();
    if !wide.is_finite() {
        return if wide.is_nan() {
            "nan"
        } else if wide > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_string();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if wide != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    plain_decimal(digits, exponent)
}

/// `digits × 10^exponent` without exponent, with at least one digit after the point.
fn plain_decimal(digits: &str, exponent: i32) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let digits: String = digits.chars().filter(|&c| c != '.').collect();
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    let padded = format!("{digits:0<width$}", width = whole + 1);
    format!("{sign}{}.{}", &padded[..whole], &padded[whole..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(x: &Tensor, to: DType) -> Tensor {
        let x = Tensors { operands: vec![Some(x)], regions: &[], symbols: &|_| None };
        Cast { to, saturate: true }.eval(&x).unwrap().remove(0)
    }

    #[test]
    fn floats_print_as_python_prints_them() {
        for (x, text) in [
            (0.0, "0.0"),
            (-1.5, "-1.5"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (12345678.0, "12345678.0"),
            (1e20, "1e+20"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(real_text(x), text);
        }
        assert_eq!(real_text(0.1f32), "0.1");
    }

    #[test]
    fn numbers_narrow_by_their_low_bits() {
        let x = Tensor::from_elements(vec![4], vec![-9.0f32, 8.9, f32::NAN, 7.0]);
        assert_eq!(cast(&x, DType::I4).data(), &Data::I4(vec![7, -8, 0, 7]));
        assert_eq!(cast(&Tensor::scalar(200i64), DType::I8).data(), &Data::I8(vec![-56]));
        assert_eq!(cast(&Tensor::scalar(-1.0f32), DType::U8).data(), &Data::U8(vec![255]));
    }

    #[test]
    fn strings_become_numbers() {
        let x = Tensor::from_elements(vec![3], vec!["1e-5".to_string(), "-INF".into(), "3.5".into()]);
        assert_eq!(cast(&x, DType::F32).elements::<f32>().unwrap(), [1e-5, f32::NEG_INFINITY, 3.5]);
        assert_eq!(cast(&Tensor::scalar("-7".to_string()), DType::I8).data(), &Data::I8(vec![-7]));
    }
}
