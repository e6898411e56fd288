//! `pool`: a fold over sliding windows. ONNX `MaxPool`, `AveragePool`, `LpPool`, opset 22.

use super::spatial::{self, Image, Layout, Taps, Window};
use crate::eval::{checked_len, coordinates_of, from_ints, from_reals, int_range, ints, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::word_attr! {
    /// What a pool computes of each window.
    PoolFn {
        /// The largest element.
        Max = "max",
        /// The mean.
        Average = "average",
        /// The `p`-norm.
        Lp = "lp",
    }
}

crate::attrs! {
    /// A fold over windows that slide over the spatial axes of an image.
    Pool {
        /// What is computed of each window.
        function: PoolFn,
        /// Extent of the window along each spatial axis.
        kernel: Vec<usize>,
        /// Distance of the windows along each spatial axis.
        strides: Vec<usize>,
        /// Padding around the image: before along each spatial axis, then after.
        pads: Vec<Dim>,
        /// Distance of the window's elements along each spatial axis.
        dilations: Vec<usize>,
        /// Whether a last window that ends outside of the padded image counts.
        ceil: bool = false,
        /// Whether padding counts as zeros in a mean.
        count_include_pad: bool = false,
        /// Order of the norm.
        p: usize = 2,
        /// Layout of the image and the result.
        layout: Layout = Layout::ChannelsFirst
    }
}

impl OpDef for Pool {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let fits = ty.dtype.is_float() || ty.dtype.is_int() && self.function == PoolFn::Max;
        ensure!(fits, "`{}` does not take elements of type {}", self.function.name(), ty.dtype);
        ensure!(self.p > 0, "`p` must be positive");
        let kernel: Vec<Dim> = self.kernel.iter().map(|&k| spatial::dim(k)).collect();
        let window = Window { kernel: &kernel, strides: &self.strides, pads: &self.pads, dilations: &self.dilations };
        let image = self.layout.image(&ty.shape)?;
        let spatial = window.output_extents(&image.spatial, self.ceil)?;
        let shape = self.layout.shape(Image { batch: image.batch, channels: image.channels, spatial });
        Ok(vec![TensorType::new(ty.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = self.layout.to_channels_first(x.get(0)?)?;
        let image = Layout::ChannelsFirst.image(input.shape())?;
        let kernel: Vec<i64> = self.kernel.iter().map(|&k| i64::try_from(k).unwrap_or(i64::MAX)).collect();
        let pads = spatial::values(x, &self.pads)?;
        let window = Window { kernel: &kernel, strides: &self.strides, pads: &pads, dilations: &self.dilations };
        let extents = spatial::output_extents(&window, &image.spatial, self.ceil)?;
        let shape = [&[image.batch, image.channels], extents.as_slice()].concat();
        let result = if input.dtype().is_float() {
            let values = reals(&input)?;
            let pooled = slide(&window, &image, &extents, |plane, taps| self.fold(&values[plane..], taps))?;
            from_reals(input.dtype(), shape, pooled)?
        } else {
            let (values, (lowest, _)) = (ints(&input)?, int_range(input.dtype()));
            let max =
                |plane: usize, taps: &Taps| taps.inside.iter().map(|t| values[plane + t.1]).fold(lowest, i128::max);
            from_ints(input.dtype(), shape, slide(&window, &image, &extents, max)?)?
        };
        Ok(vec![self.layout.put_channels_first(result)?])
    }
}

impl Pool {
    fn fold(&self, plane: &[f64], taps: &Taps) -> f64 {
        let values = taps.inside.iter().map(|tap| plane[tap.1]);
        match self.function {
            PoolFn::Max => values.fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b }),
            PoolFn::Average => {
                let n = if self.count_include_pad { taps.n_padded } else { taps.inside.len() };
                values.fold(0.0, |a, b| a + b) / n as f64
            }
            PoolFn::Lp => {
                let p = self.p as f64;
                libm::pow(values.map(|x| libm::pow(libm::fabs(x), p)).fold(0.0, |a, b| a + b), 1.0 / p)
            }
        }
    }
}

/// The value of `fold` at every position of the window in every plane, given the plane's first element.
pub(super) fn slide<T: Clone + Default>(
    window: &Window<i64>,
    image: &Image<usize>,
    extents: &[usize],
    fold: impl Fn(usize, &Taps) -> T,
) -> Result<Vec<T>, OpError> {
    let planes = checked_len(&[image.batch, image.channels])?;
    let area: usize = image.spatial.iter().product();
    let out_area = checked_len(extents)?;
    let mut result = vec![T::default(); checked_len(&[planes, out_area])?];
    if result.is_empty() {
        return Ok(result);
    }
    for position in 0..out_area {
        let taps = window.taps(&coordinates_of(position, extents), &image.spatial)?;
        for plane in 0..planes {
            result[plane * out_area + position] = fold(plane * area, &taps);
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(function: PoolFn, ceil: bool, count_include_pad: bool) -> Vec<f32> {
        let input = Tensor::from_elements(vec![1, 1, 4], vec![1.0f32, 2.0, 3.0, 5.0]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let op = Pool {
            function,
            kernel: vec![3],
            strides: vec![2],
            pads: vec![1.into(), 0.into()],
            dilations: vec![1],
            ceil,
            count_include_pad,
            p: 1,
            layout: Layout::ChannelsFirst,
        };
        op.eval(&x).unwrap()[0].elements().unwrap().to_vec()
    }

    #[test]
    fn functions() {
        assert_eq!(pool(PoolFn::Max, false, false), [2.0, 5.0]);
        assert_eq!(pool(PoolFn::Average, false, false), [1.5, 10.0 / 3.0]);
        assert_eq!(pool(PoolFn::Average, false, true), [1.0, 10.0 / 3.0]);
        assert_eq!(pool(PoolFn::Lp, false, false), [3.0, 10.0]);
        assert_eq!(pool(PoolFn::Max, true, false), [2.0, 5.0]);
    }
}
