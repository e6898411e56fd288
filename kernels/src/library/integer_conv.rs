//! `integer_conv`: convolutions of 8-bit integers, channels first, with weights of any kind, by the definition.

use super::args::{Args, error, kernels};
use super::element::Number;
use super::split::rows;
use crate::abi::{KernelError, Operand};
use crate::conv::Geometry;
use ic_types::DType;

kernels! {
    /// `y[n, o, …] = bias[o] + Σ (x - x_zero_point) (w - w_zero_point[o])` in i32, which wraps; around the image is the zero
    /// point. x and w are u8 or i8 as ONNX `ConvInteger` has them, zero points of the same types and bias i32 may be
    /// absent; `window` is strides, dilations and pads before.
    INTEGER_CONV = "integer_conv" ["x", "w", "x_zero_point", "w_zero_point", "bias"] -> ["y"] {"groups", "window[]"},
        |args| match (args.dtype(0)?, args.dtype(1)?) {
            (DType::I8, DType::I8) => convolve::<i8, i8>(args),
            (DType::I8, _) => convolve::<i8, u8>(args),
            (_, DType::I8) => convolve::<u8, i8>(args),
            _ => convolve::<u8, u8>(args),
        };
}

/// The zero points of an operand; one 0 if they are absent.
fn zeros<T: Number + Into<i32>>(args: &Args, index: usize, len: usize) -> Result<Vec<i32>, KernelError> {
    let Some(given) = args.optional::<T>(index)? else { return Ok(vec![0; len]) };
    match given.len() {
        1 => Ok(vec![given[0].into(); len]),
        n if n == len => Ok(given.iter().map(|&z| z.into()).collect()),
        n => Err(error(format!("expected {len} zero points, found {n}"))),
    }
}

fn convolve<X: Number + Into<i32>, W: Number + Into<i32>>(args: &mut Args) -> Result<(), KernelError> {
    let operand = |index: usize| args.operand(index).copied();
    let bias: Operand = operand(4)?;
    let geometry = Geometry::of(&[operand(0)?, operand(1)?, bias, operand(5)?], args.list(0), false)?;
    let outputs = geometry.outputs * geometry.groups;
    let (x_zero, w_zeros) = (zeros::<X>(args, 2, 1)?[0], zeros::<W>(args, 3, outputs)?);
    let (x, w, bias) = (args.input::<X>(0)?, args.input::<W>(1)?, args.optional::<i32>(4)?);
    let (pixels, area, taps, k) = (geometry.pixels(), geometry.area(), geometry.taps(), geometry.k());
    let y = args.output::<i32>()?;
    rows(args.pool(), y, pixels, pixels.saturating_mul(k), |first, part| {
        for (row, to) in part.chunks_exact_mut(pixels).enumerate() {
            let (image, output) = ((first + row) / outputs, (first + row) % outputs);
            let channel = (image * geometry.groups + output / geometry.outputs) * geometry.inputs;
            let filter = &w[output * k..(output + 1) * k];
            for (pixel, to) in to.iter_mut().enumerate() {
                let mut sum = bias.map_or(0, |bias| bias[output]);
                for tap in 0..taps {
                    let Some(place) = geometry.source(pixel, tap) else { continue };
                    for input in 0..geometry.inputs {
                        let a: i32 = x[(channel + input) * area + place].into() - x_zero;
                        let b: i32 = filter[input * taps + tap].into() - w_zeros[output];
                        sum = sum.wrapping_add(a.wrapping_mul(b));
                    }
                }
                *to = sum;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run};

    #[test]
    fn the_zero_point_is_around_the_image() {
        let x = Buffer::new::<u8>(DType::U8, &[1, 1, 3], &[2, 3, 5]);
        let w = Buffer::new::<i8>(DType::I8, &[2, 1, 2], &[1, -1, 2, 4]);
        let x_zero = Buffer::new::<u8>(DType::U8, &[], &[1]);
        let w_zero = Buffer::new::<i8>(DType::I8, &[2], &[0, 1]);
        let bias = Buffer::new::<i32>(DType::I32, &[2], &[10, 0]);
        let y = Buffer::out::<i32>(DType::I32, &[1, 2, 4]);
        let y = run(&INTEGER_CONV, &[x, w, x_zero, w_zero, bias], &[1, 1, 1, 1], vec![y]).unwrap();
        assert_eq!(y[0].values::<i32>(), [9, 9, 8, 14, 3, 7, 14, 4]);
    }
}
