//! `conv_transpose`: the gradient of a convolution with respect to its image. ONNX `ConvTranspose`.

use super::spatial::{self, Image, Layout, Window};
use crate::eval::{Number, checked_len, for_each_coordinate, offset, strides};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// `y[n, o, p * stride + k * dilation - pad] += w[i, o, k] x[n, i, p]` within each group of channels, plus `bias[o]`.
    ///
    /// The weight is `[I, O / groups, kernel…]` in either layout; the image and the result follow `layout`.
    ConvTranspose {
        /// Distance along each spatial axis at which elements of the image act.
        strides: Vec<usize>,
        /// What is cut off the result: before along each spatial axis, then after.
        pads: Vec<Dim>,
        /// What is added at the end of each spatial axis.
        output_padding: Vec<usize>,
        /// Distance of the kernel's elements along each spatial axis.
        dilations: Vec<usize>,
        /// Into how many parts the channels are divided, each with kernels of its own.
        groups: usize = 1,
        /// Layout of the image and the result.
        layout: Layout = Layout::ChannelsFirst
    }
}

impl OpDef for ConvTranspose {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("w"), OperandSpec::optional("bias")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (input, w) = (x.ty(0)?, x.ty(1)?);
        ensure!(input.dtype == w.dtype, "`x` and `w` must have one type, found {} and {}", input.dtype, w.dtype);
        ensure!(input.dtype.is_float() || input.dtype.is_int(), "`x` must be numbers, found {}", input.dtype);
        ensure!(w.rank() == input.rank(), "`w` must have the rank of `x`, found {w} for {input}");
        ensure!(self.groups > 0, "`groups` must be positive");
        let image = self.layout.image(&input.shape)?;
        x.equal(&image.channels, &w.shape[0], "channels of `x` and of `w`")?;
        let groups = spatial::dim(self.groups);
        let divides = w.shape[0].as_const().is_none_or(|c| c % groups.as_const().unwrap_or(1) == 0);
        ensure!(divides, "the {} channels of `x` must be a multiple of the {groups} groups", w.shape[0]);
        let channels = w.shape[1].clone() * groups;
        spatial::check_bias(x, 2, input, &channels)?;
        let spatial = self.output_extents(&image.spatial, &w.shape[2..])?;
        let shape = self.layout.shape(Image { batch: image.batch, channels, spatial });
        Ok(vec![TensorType::new(input.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        if x.get(0)?.dtype().is_float() { self.convolve::<f64>(x) } else { self.convolve::<i64>(x) }
    }
}

impl ConvTranspose {
    fn output_extents(&self, spatial: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>, OpError> {
        let n_axes = spatial.len();
        let window = Window { kernel, strides: &self.strides, pads: &self.pads, dilations: &self.dilations };
        window.check(n_axes)?;
        let found = self.output_padding.len();
        ensure!(found == n_axes, "`output_padding` must have {n_axes} elements, found {found}");
        let extent = |axis: usize| {
            (spatial[axis].clone() - Dim::constant(1)) * spatial::dim(self.strides[axis])
                + spatial::dim(self.output_padding[axis])
                + window.span(axis)
                - self.pads[axis].clone()
                - self.pads[n_axes + axis].clone()
        };
        Ok((0..n_axes).map(extent).collect())
    }

    fn convolve<T: Number>(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, w) = (self.layout.to_channels_first(x.get(0)?)?, x.get(1)?);
        ensure!(w.rank() == input.rank(), "`w` must have the rank of `x`");
        let image = Layout::ChannelsFirst.image(input.shape())?;
        let (n_in, n_group) = (w.shape()[0], w.shape()[1]);
        let fits = n_in == image.channels && self.groups > 0 && n_in % self.groups == 0;
        ensure!(fits, "channels of `x` and of `w` do not fit");
        let pads = spatial::values(x, &self.pads)?;
        let dims = |extents: &[usize]| extents.iter().map(|&d| spatial::dim(d)).collect::<Vec<_>>();
        let extents = x.extents(&self.output_extents(&dims(&image.spatial), &dims(&w.shape()[2..]))?)?;
        let n_out = n_group.saturating_mul(self.groups);
        let shape = [&[image.batch, n_out], extents.as_slice()].concat();
        let mut result = vec![T::default(); checked_len(&shape)?];
        let (values, weights) = (T::read(&input)?, T::read(w)?);
        let (area, out_area): (usize, usize) = (image.spatial.iter().product(), extents.iter().product());
        let (kernel, steps) = (&w.shape()[2..], strides(&extents));
        let n_taps: usize = kernel.iter().product();
        let mut pairs = Vec::new();
        for_each_coordinate(&[&image.spatial, kernel].concat(), |at| {
            let (position, tap) = at.split_at(kernel.len());
            pairs.push(self.target(position, tap, &pads, &extents).map(|target| offset(&target, &steps)));
            Ok(())
        })?;
        let channels = (0..image.batch).flat_map(|n| (0..n_in).map(move |i| (n, i)));
        for ((n, i), o) in channels.flat_map(|c| (0..n_group).map(move |o| (c, o))) {
            let group = i / (n_in / self.groups);
            let target = &mut result[(n * n_out + group * n_group + o) * out_area..][..out_area];
            for (pair, &to) in pairs.iter().enumerate() {
                let Some(to) = to else { continue };
                let (position, tap) = (pair / n_taps, pair % n_taps);
                let (value, weight) =
                    (values[(n * n_in + i) * area + position], weights[(i * n_group + o) * n_taps + tap]);
                target[to] = T::accumulate(target[to], weight, value);
            }
        }
        if let Some(bias) = x.opt(2).map(T::read).transpose()? {
            ensure!(bias.len() == n_out, "`bias` must have {n_out} elements");
            result.iter_mut().enumerate().for_each(|(i, v)| *v = T::add(*v, bias[i / out_area % n_out]));
        }
        let result = T::tensor(input.dtype(), shape, result)?;
        Ok(vec![self.layout.put_channels_first(result)?])
    }

    /// The element of the result that an element of the image reaches through one of the kernel, if it is not cut off.
    fn target(&self, position: &[usize], tap: &[usize], pads: &[i64], extents: &[usize]) -> Option<Vec<usize>> {
        (0..extents.len())
            .map(|axis| {
                let at = position[axis] as i128 * self.strides[axis] as i128
                    + tap[axis] as i128 * self.dilations[axis] as i128
                    - i128::from(pads[axis]);
                usize::try_from(at).ok().filter(|&at| at < extents[axis])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_overlap() {
        let x = Tensor::from_elements(vec![1, 1, 2], vec![1.0f32, 2.0]);
        let w = Tensor::from_elements(vec![1, 1, 3], vec![1.0f32, 10.0, 100.0]);
        let x = Tensors { operands: vec![Some(&x), Some(&w)], regions: &[], symbols: &|_| None };
        let op = ConvTranspose {
            strides: vec![2],
            pads: vec![1.into(), 0.into()],
            output_padding: vec![1],
            dilations: vec![1],
            groups: 1,
            layout: Layout::ChannelsFirst,
        };
        let y = op.eval(&x).unwrap().remove(0);
        assert_eq!(y, Tensor::from_elements(vec![1, 1, 5], vec![10.0f32, 102.0, 20.0, 200.0, 0.0]));
    }
}
