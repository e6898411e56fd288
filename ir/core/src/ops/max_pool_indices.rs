//! `max_pool_indices`: the largest element of each window and where it is. ONNX `MaxPool` with two results, opset 22.

use super::pool::slide;
use super::spatial::{self, Image, Layout, Taps, Window};
use crate::eval::{coordinates_of, ints, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Dim, Tensor};

crate::attrs! {
    /// The largest element of each window of a `[N, C, spatial…]` image, and its i64 index in the flattened image.
    MaxPoolIndices {
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
        /// Whether indices count the spatial axes in column-major order.
        storage_order: usize = 0
    }
}

impl MaxPoolIndices {
    fn kernel(&self) -> Vec<i64> {
        self.kernel.iter().map(|&k| i64::try_from(k).unwrap_or(i64::MAX)).collect()
    }
}

impl OpDef for MaxPoolIndices {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn n_results(&self) -> usize {
        2
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        ensure!(self.storage_order <= 1, "`storage_order` must be 0 or 1, found {}", self.storage_order);
        let kernel: Vec<Dim> = self.kernel().into_iter().map(Dim::constant).collect();
        let window = Window { kernel: &kernel, strides: &self.strides, pads: &self.pads, dilations: &self.dilations };
        let image = Layout::ChannelsFirst.image(&ty.shape)?;
        let spatial = window.output_extents(&image.spatial, self.ceil)?;
        let shape = Layout::ChannelsFirst.shape(Image { batch: image.batch, channels: image.channels, spatial });
        Ok(vec![TensorType::new(ty.dtype, shape.clone()).into(), TensorType::new(DType::I64, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let image = Layout::ChannelsFirst.image(input.shape())?;
        let (kernel, pads) = (self.kernel(), spatial::values(x, &self.pads)?);
        let window = Window { kernel: &kernel, strides: &self.strides, pads: &pads, dilations: &self.dilations };
        let extents = spatial::output_extents(&window, &image.spatial, self.ceil)?;
        let found = if input.dtype().is_float() {
            let values = reals(input)?;
            slide(&window, &image, &extents, |plane, taps| largest(&values, plane, taps))?
        } else {
            let values = ints(input)?;
            slide(&window, &image, &extents, |plane, taps| largest(&values, plane, taps))?
        };
        let found = found.into_iter().collect::<Option<Vec<usize>>>();
        let found = found.ok_or_else(|| OpError::new("a window covers nothing but padding"))?;
        let shape = [&[image.batch, image.channels], extents.as_slice()].concat();
        let values = Tensor::new(shape.clone(), input.data().gather(found.iter().copied()));
        let indices = found.into_iter().map(|at| self.index(at, &image.spatial)).collect();
        Ok(vec![values, Tensor::new(shape, Data::I64(indices))])
    }
}

impl MaxPoolIndices {
    /// The index that the result gives for element `at` of the row-major image.
    fn index(&self, at: usize, spatial: &[usize]) -> i64 {
        if self.storage_order == 0 {
            return at as i64;
        }
        let area = spatial.iter().product::<usize>().max(1);
        let coordinates = coordinates_of(at % area, spatial);
        let column_major = coordinates.iter().zip(spatial).rev().fold(0, |index, (&c, &extent)| index * extent + c);
        (at / area * area + column_major) as i64
    }
}

/// The first of the largest elements under a window, NaN being larger than any number.
fn largest<T: PartialOrd + Copy>(values: &[T], plane: usize, taps: &Taps) -> Option<usize> {
    let is_nan = |x: T| x.partial_cmp(&x).is_none();
    taps.inside.iter().map(|tap| plane + tap.1).reduce(|best, at| {
        let better = values[at] > values[best] || is_nan(values[at]);
        if !is_nan(values[best]) && better { at } else { best }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_orders() {
        let input = Tensor::from_elements(vec![1, 1, 2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 9.0, 5.0]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        for (storage_order, expected) in [(0, 4i64), (1, 3)] {
            let pads = vec![Dim::constant(0); 4];
            let op = MaxPoolIndices {
                kernel: vec![2, 3],
                strides: vec![1, 1],
                pads,
                dilations: vec![1, 1],
                ceil: false,
                storage_order,
            };
            assert_eq!(op.eval(&x).unwrap()[1].elements::<i64>().unwrap(), [expected]);
        }
    }
}
