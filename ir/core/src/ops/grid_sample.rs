//! `grid_sample`: an image sampled at given positions. ONNX `GridSample`, opset 22.

use super::resize::ResizeMode;
use crate::eval::{checked_len, for_each_coordinate, from_ints, from_reals, ints, reals, strides};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::Tensor;

crate::word_attr! {
    /// What is outside of the image.
    GridPadding {
        /// Zeros.
        Zeros = "zeros",
        /// The nearest element.
        Border = "border",
        /// The image mirrored at its borders.
        Reflection = "reflection",
    }
}

crate::attrs! {
    /// `x` is `[N, C, spatial…]`, `grid` is `[N, out…, rank]` with positions in -1..1, innermost axis first, and the
    /// result is `[N, C, out…]`.
    GridSample {
        /// How elements between samples are made; the nearest rounds half to even.
        mode: ResizeMode = ResizeMode::Linear,
        /// What is outside of the image.
        padding: GridPadding = GridPadding::Zeros,
        /// Whether -1 and 1 are the centres of the outermost elements rather than their outer edges.
        align_corners: bool = false
    }
}

/// Parameter of cubic convolution.
const CUBIC_COEFF_A: f64 = -0.75;

impl OpDef for GridSample {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("grid")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (image, grid) = (x.ty(0)?, x.ty(1)?);
        super::check_float(grid, "grid")?;
        ensure!(image.dtype.is_float() || image.dtype.is_int(), "`x` must be numbers, found {}", image.dtype);
        ensure!(image.rank() >= 3, "`x` must have rank 3 or more, found {image}");
        ensure!(grid.rank() == image.rank(), "`grid` must have the rank of `x`, found {grid} for {image}");
        let batch = x.equal(&image.shape[0], &grid.shape[0], "batch extents of `x` and `grid`")?;
        let n_axes = image.rank() as i64 - 2;
        x.equal(&n_axes.into(), &grid.shape[grid.rank() - 1], "the last extent of `grid` and the spatial rank")?;
        let mut shape = vec![batch, image.shape[1].clone()];
        shape.extend_from_slice(&grid.shape[1..grid.rank() - 1]);
        Ok(vec![TensorType::new(image.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (image, grid) = (x.get(0)?, x.get(1)?);
        ensure!(image.rank() >= 3 && grid.rank() == image.rank(), "`grid` must have the rank of `x`");
        let (n, channels, spatial) = (image.shape()[0], image.shape()[1], &image.shape()[2..]);
        let out = &grid.shape()[1..grid.rank() - 1];
        let fits = grid.shape()[0] == n && grid.shape()[grid.rank() - 1] == spatial.len();
        ensure!(fits, "`grid` does not fit `x`");
        let shape = [&[n, channels], out].concat();
        checked_len(&shape)?;
        let values =
            if image.dtype().is_float() { reals(image)? } else { ints(image)?.into_iter().map(|v| v as f64).collect() };
        let positions = reals(grid)?;
        let (area, out_area): (usize, usize) = (spatial.iter().product(), out.iter().product());
        let mut result = vec![0.0; n * channels * out_area];
        for (i, position) in positions.chunks(spatial.len()).enumerate() {
            let (n, at) = (i / out_area, i % out_area);
            let taps = self.taps(position, spatial)?;
            for c in 0..channels {
                let plane = &values[(n * channels + c) * area..][..area];
                let sum = taps.iter().fold(0.0, |sum, &(i, weight)| sum + plane[i] * weight);
                result[(n * channels + c) * out_area + at] = sum;
            }
        }
        Ok(vec![if image.dtype().is_float() {
            from_reals(image.dtype(), shape, result)?
        } else {
            from_ints(image.dtype(), shape, result.into_iter().map(|v| (v as i64).into()).collect())?
        }])
    }
}

impl GridSample {
    /// Elements of a plane and their weights.
    fn taps(&self, position: &[f64], spatial: &[usize]) -> Result<Vec<(usize, f64)>, OpError> {
        let per_axis: Vec<Vec<(f64, f64)>> = self.pixels(position, spatial).into_iter().map(|x| self.axis(x)).collect();
        let counts: Vec<usize> = per_axis.iter().map(Vec::len).collect();
        let steps = strides(spatial);
        let mut taps = Vec::new();
        for_each_coordinate(&counts, |at| {
            let (mut index, mut weight) = (Some(0), 1.0);
            for (axis, &i) in at.iter().enumerate() {
                let (pixel, w) = per_axis[axis][i];
                index = index.zip(self.inside(pixel, spatial[axis])).map(|(sum, pixel)| sum + pixel * steps[axis]);
                weight *= w;
            }
            taps.extend(index.map(|index| (index, weight)));
            Ok(())
        })?;
        Ok(taps)
    }

    /// The position in pixels, outermost axis first, brought back into the image as the padding says.
    fn pixels(&self, position: &[f64], spatial: &[usize]) -> Vec<f64> {
        let pixel = |(&x, &extent): (&f64, &usize)| {
            let extent = extent as f64;
            let pixel =
                if self.align_corners { (x + 1.0) / 2.0 * (extent - 1.0) } else { ((x + 1.0) * extent - 1.0) / 2.0 };
            if self.mode == ResizeMode::Nearest { libm::rint(pixel) } else { pixel }
        };
        let mut pixels: Vec<f64> = position.iter().rev().zip(spatial).map(pixel).collect();
        let outside = pixels.iter().zip(spatial).any(|(&x, &extent)| {
            let (low, high) = self.bounds(extent);
            !(low..=high).contains(&x)
        });
        if outside {
            for (x, &extent) in pixels.iter_mut().zip(spatial) {
                *x = match self.padding {
                    GridPadding::Zeros => *x,
                    GridPadding::Border => x.max(0.0).min(extent as f64 - 1.0),
                    GridPadding::Reflection => self.reflect(*x, extent),
                };
            }
        }
        pixels
    }

    /// Pixels along an axis and their weights.
    fn axis(&self, x: f64) -> Vec<(f64, f64)> {
        let base = libm::floor(x);
        let t = x - base;
        match self.mode {
            ResizeMode::Nearest => vec![(libm::rint(x), 1.0)],
            ResizeMode::Linear => vec![(base, 1.0 - t), (base + 1.0, t)],
            ResizeMode::Cubic => (-1..=2)
                .map(|i| {
                    let (d, a) = (libm::fabs(f64::from(i) - t), CUBIC_COEFF_A);
                    let near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
                    let far = ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
                    (base + f64::from(i), if d <= 1.0 { near } else { far })
                })
                .collect(),
        }
    }

    /// The element at `pixel` of an axis; `None` where it counts as zero.
    fn inside(&self, pixel: f64, extent: usize) -> Option<usize> {
        let last = extent as f64 - 1.0;
        let pixel = match self.padding {
            GridPadding::Zeros => pixel,
            GridPadding::Border => pixel.max(0.0).min(last),
            GridPadding::Reflection => self.reflect(pixel, extent).max(0.0).min(last),
        };
        (0.0..=last).contains(&pixel).then_some(pixel as usize)
    }

    /// Where the image's borders are.
    fn bounds(&self, extent: usize) -> (f64, f64) {
        let extent = extent as f64;
        if self.align_corners { (0.0, extent - 1.0) } else { (-0.5, extent - 0.5) }
    }

    fn reflect(&self, x: f64, extent: usize) -> f64 {
        let (low, high) = self.bounds(extent);
        let range = high - low;
        if range <= 0.0 || !x.is_finite() {
            return low;
        }
        let distance = if x < low { low - x } else { x - low };
        let folded = libm::fmod(distance, 2.0 * range);
        low + if folded > range { 2.0 * range - folded } else { folded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(mode: ResizeMode, padding: GridPadding, align_corners: bool, at: f32) -> f32 {
        let image = Tensor::from_elements(vec![1, 1, 3], vec![1.0f32, 2.0, 4.0]);
        let grid = Tensor::from_elements(vec![1, 1, 1], vec![at]);
        let x = Tensors { operands: vec![Some(&image), Some(&grid)], regions: &[], symbols: &|_| None };
        GridSample { mode, padding, align_corners }.eval(&x).unwrap()[0].elements::<f32>().unwrap()[0]
    }

    #[test]
    fn corners_and_padding() {
        use GridPadding::{Border, Reflection, Zeros};
        assert_eq!(sample(ResizeMode::Linear, Zeros, true, 0.5), 3.0);
        assert_eq!(sample(ResizeMode::Linear, Zeros, false, -1.0), 0.5);
        assert_eq!(sample(ResizeMode::Linear, Border, false, 3.0), 4.0);
        assert_eq!(sample(ResizeMode::Nearest, Reflection, true, 2.0), 2.0);
        assert_eq!(sample(ResizeMode::Cubic, Zeros, true, 0.0), 2.0);
    }
}
