//! Windows that slide over spatial axes: what convolutions and pools share.

use super::transpose::Transpose;
use crate::op::{OpDef, OpError, Tensors};
use crate::types::TensorType;
use ic_types::{Dim, Tensor};

crate::word_attr! {
    /// Where the channel axis of an image is.
    Layout {
        /// `[N, C, spatial…]`.
        ChannelsFirst = "channels_first",
        /// `[N, spatial…, C]`.
        ChannelsLast = "channels_last",
    }
}

/// The axes of an image.
pub(super) struct Image<T> {
    pub(super) batch: T,
    pub(super) channels: T,
    pub(super) spatial: Vec<T>,
}

impl Layout {
    /// Takes a shape apart.
    ///
    /// # Errors
    /// If there is no spatial axis.
    pub(super) fn image<T: Clone>(self, shape: &[T]) -> Result<Image<T>, OpError> {
        crate::ensure!(shape.len() >= 3, "`x` must have rank 3 or more, found {}", shape.len());
        let (first, last) = (shape[1].clone(), shape[shape.len() - 1].clone());
        let (channels, spatial) = match self {
            Layout::ChannelsFirst => (first, shape[2..].to_vec()),
            Layout::ChannelsLast => (last, shape[1..shape.len() - 1].to_vec()),
        };
        Ok(Image { batch: shape[0].clone(), channels, spatial })
    }

    /// The shape of an image.
    pub(super) fn shape<T>(self, image: Image<T>) -> Vec<T> {
        let mut shape = vec![image.batch];
        match self {
            Layout::ChannelsFirst => {
                shape.push(image.channels);
                shape.extend(image.spatial);
            }
            Layout::ChannelsLast => {
                shape.extend(image.spatial);
                shape.push(image.channels);
            }
        }
        shape
    }

    /// `x` with channels first.
    pub(super) fn to_channels_first(self, x: &Tensor) -> Result<Tensor, OpError> {
        crate::ensure!(x.rank() >= 3, "`x` must have rank 3 or more, found {}", x.rank());
        match self {
            Layout::ChannelsFirst => Ok(x.clone()),
            Layout::ChannelsLast => permute(x, [0, x.rank() - 1].into_iter().chain(1..x.rank() - 1).collect()),
        }
    }

    /// `x`, which has channels first, in this layout.
    pub(super) fn put_channels_first(self, x: Tensor) -> Result<Tensor, OpError> {
        match self {
            Layout::ChannelsFirst => Ok(x),
            Layout::ChannelsLast => permute(&x, std::iter::once(0).chain(2..x.rank()).chain([1]).collect()),
        }
    }
}

fn permute(x: &Tensor, perm: Vec<usize>) -> Result<Tensor, OpError> {
    let x = Tensors { operands: vec![Some(x)], regions: &[], symbols: &|_| None };
    Ok(Transpose { perm }.eval(&x)?.remove(0))
}

/// A `usize` as a dim; what does not fit saturates, as dim arithmetic does.
pub(super) fn dim(value: usize) -> Dim {
    Dim::constant(i64::try_from(value).unwrap_or(i64::MAX))
}

/// How a window slides. Every list has one entry per spatial axis, `pads` has begins, then ends.
pub(super) struct Window<'a, T> {
    pub(super) kernel: &'a [T],
    pub(super) strides: &'a [usize],
    pub(super) pads: &'a [T],
    pub(super) dilations: &'a [usize],
}

impl<T> Window<'_, T> {
    /// # Errors
    /// If a list has not the right length, or a stride or dilation is 0.
    pub(super) fn check(&self, n_axes: usize) -> Result<(), OpError> {
        let length = |name: &str, found: usize, expected: usize| {
            crate::ensure!(found == expected, "`{name}` must have {expected} elements, found {found}");
            Ok(())
        };
        length("kernel", self.kernel.len(), n_axes)?;
        length("strides", self.strides.len(), n_axes)?;
        length("pads", self.pads.len(), 2 * n_axes)?;
        length("dilations", self.dilations.len(), n_axes)?;
        crate::ensure!(!self.strides.contains(&0), "`strides` must be positive");
        crate::ensure!(!self.dilations.contains(&0), "`dilations` must be positive");
        Ok(())
    }
}

impl Window<'_, Dim> {
    /// Extent that the dilated kernel spans along an axis.
    pub(super) fn span(&self, axis: usize) -> Dim {
        (self.kernel[axis].clone() - Dim::constant(1)) * dim(self.dilations[axis]) + Dim::constant(1)
    }

    /// Extents of the result. With `ceil`, windows that begin inside of the image but end outside of it count too.
    ///
    /// # Errors
    /// As [`Window::check`]; also if the kernel has no element.
    pub(super) fn output_extents(&self, spatial: &[Dim], ceil: bool) -> Result<Vec<Dim>, OpError> {
        let n_axes = spatial.len();
        self.check(n_axes)?;
        crate::ensure!(!self.kernel.iter().any(|k| k.is(0)), "the kernel must have elements");
        let one = Dim::constant(1);
        let extent = |axis: usize| {
            let (begin, end) = (self.pads[axis].clone(), self.pads[n_axes + axis].clone());
            let stride = dim(self.strides[axis]);
            let free = spatial[axis].clone() + begin.clone() + end - self.span(axis);
            if !ceil {
                return free.floor_div(&stride) + one.clone();
            }
            // A window must not begin in the padding at the end.
            let beginning = (spatial[axis].clone() + begin - one.clone()).floor_div(&stride) + one.clone();
            (free.ceil_div(&stride) + one.clone()).minimum(&beginning)
        };
        Ok((0..n_axes).map(extent).collect())
    }
}

/// Elements of the image under a window.
pub(super) struct Taps {
    /// Index within the kernel and within the spatial axes of the image.
    pub(super) inside: Vec<(usize, usize)>,
    /// How many elements of the kernel are on the image or its padding.
    pub(super) n_padded: usize,
}

impl Window<'_, i64> {
    /// What the window at `position` covers of an image with these extents.
    ///
    /// # Errors
    /// If positions do not fit in 64 bits.
    pub(super) fn taps(&self, position: &[usize], spatial: &[usize]) -> Result<Taps, OpError> {
        let n_axes = spatial.len();
        let mut taps = Taps { inside: Vec::new(), n_padded: 0 };
        let kernel: Vec<usize> = self.kernel.iter().map(|&k| usize::try_from(k).unwrap_or(0)).collect();
        let mut tap = 0;
        crate::eval::for_each_coordinate(&kernel, |at| {
            let (mut inside, mut padded, mut offset) = (true, true, 0usize);
            for axis in 0..n_axes {
                let source = position[axis] as i128 * self.strides[axis] as i128
                    + at[axis] as i128 * self.dilations[axis] as i128
                    - i128::from(self.pads[axis]);
                let extent = spatial[axis] as i128;
                inside &= (0..extent).contains(&source);
                padded &= source < extent + i128::from(self.pads[n_axes + axis]);
                offset = if inside { offset * spatial[axis] + source as usize } else { 0 };
            }
            if inside {
                taps.inside.push((tap, offset));
            }
            taps.n_padded += usize::from(padded);
            tap += 1;
            Ok(())
        })?;
        Ok(taps)
    }
}

/// Values of dims that may be negative.
pub(super) fn values(x: &Tensors, dims: &[Dim]) -> Result<Vec<i64>, OpError> {
    dims.iter().map(|dim| x.dim(dim)).collect()
}

/// `spatial` extents of the result of a window that slides over an image.
///
/// # Errors
/// If there would be a negative extent.
pub(super) fn output_extents(window: &Window<i64>, spatial: &[usize], ceil: bool) -> Result<Vec<usize>, OpError> {
    let dims = |values: &[i64]| values.iter().map(|&v| Dim::constant(v)).collect::<Vec<_>>();
    let (kernel, pads) = (dims(window.kernel), dims(window.pads));
    let symbolic = Window { kernel: &kernel, strides: window.strides, pads: &pads, dilations: window.dilations };
    let spatial: Vec<Dim> = spatial.iter().map(|&d| dim(d)).collect();
    let extents = symbolic.output_extents(&spatial, ceil)?;
    let extent = |d: &Dim| d.as_const().and_then(|d| usize::try_from(d).ok());
    let extents: Option<Vec<usize>> = extents.iter().map(extent).collect();
    extents.ok_or_else(|| OpError::new("the kernel is larger than the padded image"))
}

/// # Errors
/// If `bias`, operand `i`, is present and not `[channels]`.
pub(super) fn check_bias(x: &crate::Operands, i: usize, ty: &TensorType, channels: &Dim) -> Result<(), OpError> {
    super::check_operand(x, i, "bias", &TensorType::new(ty.dtype, vec![channels.clone()]))
}
