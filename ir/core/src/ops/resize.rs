//! `resize`: resampling of every axis. ONNX `Resize`, `Upsample`, opset 19; sizes and aspect policies are resolved.

use crate::eval::{checked_len, for_each_coordinate, from_ints, from_reals, ints, offset, reals, strides, zeros};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::word_attr! {
    /// How elements between samples are made.
    ResizeMode {
        /// The nearest sample.
        Nearest = "nearest",
        /// Linear interpolation along each axis.
        Linear = "linear",
        /// Cubic convolution along each axis.
        Cubic = "cubic",
    }
}

crate::word_attr! {
    /// Where a result's coordinate is on the operand's axis. `s` is the scale, `n` and `m` the extents before and after.
    CoordinateMode {
        /// `(x + 0.5) / s - 0.5`.
        HalfPixel = "half_pixel",
        /// As `half_pixel`, centred where `m` is not `n * s`.
        HalfPixelSymmetric = "half_pixel_symmetric",
        /// As `half_pixel`, but -0.5 where `m` is 1.
        PytorchHalfPixel = "pytorch_half_pixel",
        /// `x * (n - 1) / (m - 1)`.
        AlignCorners = "align_corners",
        /// `x / s`.
        Asymmetric = "asymmetric",
        /// `(x + 0.5) / s`.
        TfHalfPixelForNn = "tf_half_pixel_for_nn",
        /// Within the region of interest; outside of the axis is the extrapolation value.
        TfCropAndResize = "tf_crop_and_resize",
    }
}

crate::word_attr! {
    /// Which sample is the nearest to a coordinate between two.
    NearestMode {
        /// The nearer; the left of two equally near.
        RoundPreferFloor = "round_prefer_floor",
        /// The nearer; the right of two equally near.
        RoundPreferCeil = "round_prefer_ceil",
        /// The left.
        Floor = "floor",
        /// The right.
        Ceil = "ceil",
    }
}

crate::attrs! {
    /// Every axis resampled. In mode `tf_crop_and_resize`, `roi` has a fraction of each axis where the region of interest
    /// begins, then where it ends.
    Resize {
        /// The result's shape.
        shape: Vec<Dim>,
        /// Scale of each axis where the model gives them, else the ratio of extents.
        scales: Option<Vec<F32>> = None,
        /// The same as bits of f64, where only a run knows them.
        scale_bits: Option<Vec<Dim>> = None,
        /// How elements between samples are made.
        mode: ResizeMode,
        /// Where coordinates are.
        coordinates: CoordinateMode,
        /// Which sample is the nearest.
        nearest: NearestMode = NearestMode::RoundPreferFloor,
        /// Parameter of cubic convolution.
        cubic_coeff_a: F32 = F32(-0.75),
        /// Whether samples outside of the axis get weight 0 rather than repeat its ends.
        exclude_outside: bool = false,
        /// Whether filters widen when an axis shrinks.
        antialias: bool = false,
        /// The elements outside of the operand in mode `tf_crop_and_resize`.
        extrapolation: F32 = F32(0.0)
    }
}

impl OpDef for Resize {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::optional("roi")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let rank = ty.rank();
        self.check(rank)?;
        let number = ty.dtype.is_float() || ty.dtype.is_int() || ty.dtype == DType::Bool;
        ensure!(number || self.mode == ResizeMode::Nearest, "`x` must be numbers, found {}", ty.dtype);
        if let Some(roi) = x.opt(1) {
            ensure!(roi.dtype.is_float(), "`roi` must be floats, found {}", roi.dtype);
            x.equal(&roi.elements(), &(2 * rank as i64).into(), "the numbers of `roi` and of ends of axes")?;
        }
        Ok(vec![TensorType::new(ty.dtype, self.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        if let Some(bits) = &self.scale_bits {
            let scale = |dim| Ok(F32(f64::from_bits(x.dim(dim)? as u64) as f32));
            let scales = bits.iter().map(scale).collect::<Result<Vec<_>, OpError>>()?;
            return Resize { scales: Some(scales), scale_bits: None, ..self.clone() }.eval(x);
        }
        let (input, shape) = (x.get(0)?, x.extents(&self.shape)?);
        self.check(input.rank())?;
        if checked_len(&shape)? == 0 {
            return Ok(vec![zeros(input.dtype(), shape)?]);
        }
        let roi = x.opt(1).map(reals).transpose()?.unwrap_or_default();
        ensure!(roi.is_empty() || roi.len() == 2 * input.rank(), "`roi` has {} elements", roi.len());
        let along = |axis: usize| Along { axis, before: input.shape()[axis], after: shape[axis], roi: &roi };
        let taps = (0..input.rank())
            .map(|axis| (0..shape[axis]).map(|at| self.taps(&along(axis), at)).collect())
            .collect::<Result<Vec<Vec<Taps>>, OpError>>()?;
        if self.mode == ResizeMode::Nearest && self.coordinates != CoordinateMode::TfCropAndResize {
            let steps = strides(input.shape());
            let nearest = |at: &[usize]| {
                let source = at.iter().enumerate().map(|(axis, &c)| taps[axis][c].as_ref().map_or(0, |t| t[0].0));
                Ok(offset(&source.collect::<Vec<_>>(), &steps))
            };
            return Ok(vec![crate::eval::rearrange(input, shape, nearest)?]);
        }
        if input.dtype().is_float() {
            let values = self.interpolate(&reals(input)?, input.shape(), &shape, &taps)?;
            return Ok(vec![from_reals(input.dtype(), shape, values)?]);
        }
        let values: Vec<f64> = ints(input)?.into_iter().map(|v| v as f64).collect();
        let values = self.interpolate(&values, input.shape(), &shape, &taps)?;
        Ok(vec![from_ints(input.dtype(), shape, values.into_iter().map(|v| (v as i64).into()).collect())?])
    }
}

/// Samples of an axis with their weights; `None` outside of the axis.
type Taps = Option<Vec<(usize, f64)>>;

/// An axis before and after, and the region of interest of all axes, which may be empty.
struct Along<'a> {
    axis: usize,
    before: usize,
    after: usize,
    roi: &'a [f64],
}

impl Resize {
    fn check(&self, rank: usize) -> Result<(), OpError> {
        ensure!(self.shape.len() == rank, "`shape` must have {rank} extents, found {}", self.shape.len());
        if let Some(scales) = &self.scales {
            ensure!(scales.len() == rank, "`scales` must have {rank} elements, found {}", scales.len());
            ensure!(scales.iter().all(|s| s.0 > 0.0), "`scales` must be positive");
        }
        if let Some(bits) = &self.scale_bits {
            ensure!(bits.len() == rank && self.scales.is_none(), "`scale_bits` must have {rank} elements");
        }
        Ok(())
    }

    /// The weighted sum of samples at every coordinate of the result.
    fn interpolate(
        &self,
        values: &[f64],
        source: &[usize],
        shape: &[usize],
        taps: &[Vec<Taps>],
    ) -> Result<Vec<f64>, OpError> {
        let steps = strides(source);
        let mut result = Vec::new();
        for_each_coordinate(shape, |at| {
            let mut terms = vec![(0usize, 1.0)];
            for (axis, &c) in at.iter().enumerate() {
                let Some(samples) = &taps[axis][c] else {
                    terms.clear();
                    break;
                };
                let along = |&(base, weight): &(usize, f64)| {
                    let step = steps[axis];
                    samples.iter().map(move |&(i, w)| (base + i * step, weight * w)).collect::<Vec<_>>()
                };
                terms = terms.iter().flat_map(along).collect();
            }
            let sum = terms.iter().fold(0.0, |sum, &(i, w)| sum + values[i] * w);
            result.push(if terms.is_empty() { self.extrapolation.0.into() } else { sum });
            Ok(())
        })?;
        Ok(result)
    }

    /// The samples that make element `at` of an axis.
    fn taps(&self, along: &Along, at: usize) -> Result<Taps, OpError> {
        let (before, after) = (along.before, along.after);
        ensure!(before > 0, "an axis without elements cannot be resampled");
        let scale = self.scales.as_ref().map_or(after as f64 / before as f64, |s| s[along.axis].0.into());
        let x = self.coordinate(along, at as f64, scale);
        let last = (before - 1) as f64;
        if self.coordinates == CoordinateMode::TfCropAndResize && !(0.0..=last).contains(&x) {
            return Ok(None);
        }
        let base = libm::floor(x);
        let ratio = x - base;
        let clamp = |position: f64| position.clamp(0.0, last) as usize;
        let taps = match self.mode {
            ResizeMode::Nearest => {
                let right = match self.nearest {
                    NearestMode::RoundPreferFloor => ratio > 0.5,
                    NearestMode::RoundPreferCeil => ratio >= 0.5,
                    NearestMode::Floor => false,
                    NearestMode::Ceil => ratio > 0.0,
                };
                vec![(clamp(base + f64::from(u8::from(right))), 1.0)]
            }
            ResizeMode::Linear | ResizeMode::Cubic => {
                let weights = self.weights(ratio, scale, last);
                let outside = |at: f64| self.exclude_outside && !(0.0..=last).contains(&(base + at));
                let total: f64 = weights.iter().filter(|t| !outside(t.0)).map(|t| t.1).sum();
                let total = if self.exclude_outside || self.antialias { total } else { 1.0 };
                let inside = weights.iter().filter(|t| t.1 != 0.0 && !outside(t.0));
                inside.map(|&(at, w)| (clamp(base + at), w / total)).collect()
            }
        };
        Ok(Some(taps))
    }

    /// Distances from the sample left of the coordinate, and weights there.
    fn weights(&self, ratio: f64, scale: f64, last: f64) -> Vec<(f64, f64)> {
        let reach = if self.mode == ResizeMode::Linear { 1.0 } else { 2.0 };
        let squeeze = if self.antialias { scale.min(1.0) } else { 1.0 };
        // A filter much wider than the axis adds nothing but repeated ends.
        let start = libm::floor(-reach / squeeze).max(-4.0 * (last + 2.0)) + 1.0;
        let n_taps = (2.0 - 2.0 * start) as usize;
        let taps = (0..n_taps).map(|i| start + i as f64);
        taps.map(|at| (at, self.kernel((at - ratio) * squeeze))).collect()
    }

    /// The filter at distance `x`.
    fn kernel(&self, x: f64) -> f64 {
        let (x, a) = (libm::fabs(x), f64::from(self.cubic_coeff_a.0));
        match self.mode {
            ResizeMode::Linear | ResizeMode::Nearest => (1.0 - x).max(0.0),
            ResizeMode::Cubic if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            ResizeMode::Cubic if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            ResizeMode::Cubic => 0.0,
        }
    }

    /// Where element `x` of the result is on the operand's axis.
    fn coordinate(&self, along: &Along, x: f64, scale: f64) -> f64 {
        let (before, after) = (along.before as f64, along.after as f64);
        // The extent before it was rounded.
        let width = scale * before;
        match self.coordinates {
            CoordinateMode::HalfPixel => (x + 0.5) / scale - 0.5,
            CoordinateMode::HalfPixelSymmetric => before / 2.0 * (1.0 - after / width) + (x + 0.5) / scale - 0.5,
            CoordinateMode::PytorchHalfPixel if width == 1.0 => -0.5,
            CoordinateMode::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            CoordinateMode::AlignCorners if width == 1.0 => 0.0,
            CoordinateMode::AlignCorners => x * (before - 1.0) / (width - 1.0),
            CoordinateMode::Asymmetric => x / scale,
            CoordinateMode::TfHalfPixelForNn => (x + 0.5) / scale,
            CoordinateMode::TfCropAndResize => {
                let (low, high) = match along.roi.split_at(along.roi.len() / 2) {
                    ([], _) => (0.0, 1.0),
                    (begins, ends) => (begins[along.axis], ends[along.axis]),
                };
                let fraction = if after == 1.0 { 0.5 } else { x / (after - 1.0) };
                (low + fraction * (high - low)) * (before - 1.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(mode: ResizeMode, coordinates: CoordinateMode, after: i64) -> Vec<f32> {
        let input = Tensor::from_elements(vec![4], vec![1.0f32, 2.0, 3.0, 4.0]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let op = Resize {
            shape: vec![after.into()],
            scales: None,
            scale_bits: None,
            mode,
            coordinates,
            nearest: NearestMode::RoundPreferFloor,
            cubic_coeff_a: F32(-0.75),
            exclude_outside: false,
            antialias: false,
            extrapolation: F32(0.0),
        };
        op.eval(&x).unwrap()[0].elements().unwrap().to_vec()
    }

    #[test]
    fn modes() {
        use CoordinateMode::{AlignCorners, Asymmetric, HalfPixel};
        assert_eq!(resize(ResizeMode::Linear, HalfPixel, 2), [1.5, 3.5]);
        assert_eq!(resize(ResizeMode::Linear, AlignCorners, 3), [1.0, 2.5, 4.0]);
        assert_eq!(resize(ResizeMode::Nearest, Asymmetric, 8), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
        assert_eq!(resize(ResizeMode::Cubic, HalfPixel, 4), [1.0, 2.0, 3.0, 4.0]);
    }
}
