//! `convolution`: cross-correlation with learned kernels. ONNX `Conv`.

use super::spatial::{self, Image, Layout, Window};
use crate::eval::{Number, checked_len, coordinates_of};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::word_attr! {
    /// How a kernel may compute a convolution. The reference evaluation is direct in any case.
    ConvAlgorithm {
        /// One sum of products for each result.
        Direct = "direct",
        /// By transformed tiles, which round differently (Winograd's minimal filtering).
        Winograd = "winograd",
    }
}

crate::attrs! {
    /// `y[n, o, p] = bias[o] + Σ w[o, i, k] x[n, i, p * stride + k * dilation - pad]` within each group of channels.
    ///
    /// The weight is `[O, I / groups, kernel…]` in either layout; the image and the result follow `layout`.
    Convolution {
        /// Distance of the windows along each spatial axis.
        strides: Vec<usize>,
        /// Zeros around the image: before along each spatial axis, then after.
        pads: Vec<Dim>,
        /// Distance of the kernel's elements along each spatial axis.
        dilations: Vec<usize>,
        /// Into how many parts the channels are divided, each with kernels of its own.
        groups: usize = 1,
        /// Layout of the image and the result.
        layout: Layout = Layout::ChannelsFirst,
        /// How a kernel may compute it.
        algorithm: ConvAlgorithm = ConvAlgorithm::Direct
    }
}

impl OpDef for Convolution {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("w"), OperandSpec::optional("bias")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (input, w) = (x.ty(0)?, x.ty(1)?);
        ensure!(input.dtype == w.dtype, "`x` and `w` must have one type, found {} and {}", input.dtype, w.dtype);
        ensure!(input.dtype.is_float() || input.dtype.is_int(), "`x` must be numbers, found {}", input.dtype);
        let (shape, channels) = self.output_shape(x, input, w)?;
        spatial::check_bias(x, 2, input, &channels)?;
        Ok(vec![TensorType::new(input.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        if x.get(0)?.dtype().is_float() { self.convolve::<f64>(x) } else { self.convolve::<i64>(x) }
    }
}

impl Convolution {
    /// The shape of the result and its number of channels.
    ///
    /// # Errors
    /// If image, weight and attributes do not fit together.
    pub(super) fn output_shape(
        &self,
        x: &Operands,
        input: &TensorType,
        w: &TensorType,
    ) -> Result<(Vec<Dim>, Dim), OpError> {
        ensure!(w.rank() == input.rank(), "`w` must have the rank of `x`, found {w} for {input}");
        ensure!(self.groups > 0, "`groups` must be positive");
        let image = self.layout.image(&input.shape)?;
        let (channels, groups) = (w.shape[0].clone(), spatial::dim(self.groups));
        x.equal(&image.channels, &(w.shape[1].clone() * groups.clone()), "channels of `x` and of `w`")?;
        ensure!(
            channels.as_const().is_none_or(|c| c % groups.as_const().unwrap_or(1) == 0),
            "the {channels} channels of the result must be a multiple of the {groups} groups"
        );
        let window =
            Window { kernel: &w.shape[2..], strides: &self.strides, pads: &self.pads, dilations: &self.dilations };
        let spatial = window.output_extents(&image.spatial, false)?;
        let shape = self.layout.shape(Image { batch: image.batch, channels: channels.clone(), spatial });
        Ok((shape, channels))
    }

    fn convolve<T: Number>(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, w) = (self.layout.to_channels_first(x.get(0)?)?, x.get(1)?);
        ensure!(w.rank() == input.rank(), "`w` must have the rank of `x`");
        let image = Layout::ChannelsFirst.image(input.shape())?;
        let (n_out, n_in) = (w.shape()[0], w.shape()[1]);
        let fits = n_in.checked_mul(self.groups) == Some(image.channels) && n_out % self.groups.max(1) == 0;
        ensure!(fits, "channels of `x` and of `w` do not fit");
        let kernel: Vec<i64> = w.shape()[2..].iter().map(|&k| k as i64).collect();
        let pads = spatial::values(x, &self.pads)?;
        let window = Window { kernel: &kernel, strides: &self.strides, pads: &pads, dilations: &self.dilations };
        let extents = spatial::output_extents(&window, &image.spatial, false)?;
        let shape = [&[image.batch, n_out], extents.as_slice()].concat();
        let mut result = vec![T::default(); checked_len(&shape)?];
        let bias = x.opt(2).map(T::read).transpose()?;
        ensure!(bias.as_ref().is_none_or(|b| b.len() == n_out), "`bias` must have {n_out} elements");
        let (values, weights) = (T::read(&input)?, T::read(w)?);
        let (area, n_taps): (usize, usize) = (image.spatial.iter().product(), w.shape()[2..].iter().product());
        let out_area: usize = extents.iter().product();
        if result.is_empty() {
            return Ok(vec![self.layout.put_channels_first(T::tensor(input.dtype(), shape, result)?)?]);
        }
        for position in 0..out_area {
            let taps = window.taps(&coordinates_of(position, &extents), &image.spatial)?.inside;
            for (n, o) in (0..image.batch).flat_map(|n| (0..n_out).map(move |o| (n, o))) {
                let group = o / (n_out / self.groups);
                let mut sum = T::default();
                for c in 0..n_in {
                    let plane = &values[(n * image.channels + group * n_in + c) * area..][..area];
                    let weights = &weights[(o * n_in + c) * n_taps..][..n_taps];
                    sum = taps.iter().fold(sum, |sum, &(tap, at)| T::accumulate(sum, weights[tap], plane[at]));
                }
                let start = bias.as_ref().map_or(T::default(), |b| b[o]);
                result[(n * n_out + o) * out_area + position] = T::add(sum, start);
            }
        }
        let result = T::tensor(input.dtype(), shape, result)?;
        Ok(vec![self.layout.put_channels_first(result)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_agree() {
        let x = Tensor::from_elements(vec![1, 1, 3], vec![1.0f32, 2.0, 3.0]);
        let w = Tensor::from_elements(vec![1, 1, 2], vec![10.0f32, 1.0]);
        let last = x.clone().reshaped(vec![1, 3, 1]);
        for (layout, x, shape) in
            [(Layout::ChannelsFirst, x, vec![1, 1, 2]), (Layout::ChannelsLast, last, vec![1, 2, 1])]
        {
            let x = Tensors { operands: vec![Some(&x), Some(&w)], regions: &[], symbols: &|_| None };
            let pads = vec![Dim::constant(1), Dim::constant(0)];
            let op = Convolution {
                strides: vec![2],
                pads,
                dilations: vec![1],
                groups: 1,
                layout,
                algorithm: ConvAlgorithm::Direct,
            };
            assert_eq!(op.eval(&x).unwrap()[0], Tensor::from_elements(shape, vec![1.0f32, 23.0]));
        }
    }
}
