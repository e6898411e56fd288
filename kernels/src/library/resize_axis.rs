//! One axis of `resize`: where an output element lies in the input, and the weights of the elements around it.

use super::args::error;
use super::codes::{CoordinateMode, NearestMode, ResizeMode};
use crate::abi::KernelError;

/// How one axis is resized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// Elements of the input; at least 1.
    pub(crate) input: usize,
    /// Elements of the output.
    pub(crate) output: usize,
    /// Output elements per input element.
    pub(crate) scale: f64,
    /// Where output elements lie.
    pub(crate) mode: CoordinateMode,
    /// Begin and end of the region of interest, as fractions of the input.
    pub(crate) roi: [f64; 2],
}

impl Axis {
    /// An axis without a region of interest. A `scale` of 0 stands for the ratio of the extents.
    pub(crate) fn new(input: usize, output: usize, scale: f64, mode: CoordinateMode) -> Axis {
        let scale = if scale == 0.0 && input > 0 { output as f64 / input as f64 } else { scale };
        Axis { input, output, scale, mode, roi: [0.0, 1.0] }
    }

    /// Fails if the scale is not positive or there is nothing to read.
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        let positive = self.scale > 0.0 && self.scale.is_finite();
        if self.output > 0 && (!positive || self.input == 0) {
            return Err(error(format!("cannot resize {} elements by {}", self.input, self.scale)));
        }
        Ok(())
    }

    /// Whether the axis stays as it is.
    pub(crate) fn is_identity(&self) -> bool {
        self.input == self.output && (self.scale - 1.0).abs() <= 1e-9 && self.roi == [0.0, 1.0]
    }

    /// The coordinate of output element `i` in the input.
    pub(crate) fn coordinate(&self, i: usize) -> f64 {
        let (i, input) = (i as f64, self.input as f64);
        let length = self.scale * input;
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        match self.mode {
            CoordinateMode::HalfPixel => half_pixel,
            CoordinateMode::Asymmetric => i / self.scale,
            CoordinateMode::AlignCorners if length == 1.0 => 0.0,
            CoordinateMode::AlignCorners => i * (input - 1.0) / (length - 1.0),
            CoordinateMode::PytorchHalfPixel if length == 1.0 => -0.5,
            CoordinateMode::PytorchHalfPixel => half_pixel,
            CoordinateMode::HalfPixelSymmetric => input / 2.0 * (1.0 - self.output as f64 / length) + half_pixel,
            CoordinateMode::TfCropAndResize => {
                let size = (self.roi[1] - self.roi[0]) * (input - 1.0);
                let resized = self.output as f64;
                let inside = if resized == 1.0 { size / 2.0 } else { i * size / (resized - 1.0) };
                inside + self.roi[0] * (input - 1.0)
            }
            CoordinateMode::TfHalfPixelForNn => (i + 0.5) / self.scale,
        }
    }

    /// Whether an element at `coordinate` is replaced by the extrapolation value.
    pub(crate) fn is_extrapolated(&self, coordinate: f64) -> bool {
        self.mode == CoordinateMode::TfCropAndResize && !(0.0..=self.input as f64 - 1.0).contains(&coordinate)
    }

    /// The input element that output element `i` takes, or `None` for the extrapolation value.
    pub(crate) fn nearest(&self, i: usize, mode: NearestMode) -> Option<usize> {
        let x = self.coordinate(i);
        if self.is_extrapolated(x) {
            return None;
        }
        let (floor, fraction) = (x.floor(), x - x.floor());
        let right = match mode {
            NearestMode::RoundPreferFloor => fraction > 0.5,
            NearestMode::RoundPreferCeil => fraction >= 0.5,
            NearestMode::Floor => false,
            NearestMode::Ceil => fraction > 0.0,
        };
        Some(self.clamp(floor as i64 + i64::from(right)))
    }

    /// The two input elements around output element `i`, and the weight of the second.
    pub(crate) fn linear(&self, i: usize) -> (usize, usize, f64) {
        let x = self.coordinate(i);
        let floor = x.floor();
        (self.clamp(floor as i64), self.clamp(floor as i64 + 1), x - floor)
    }

    /// The element that stands at `position`, the outermost ones being repeated.
    pub(crate) fn clamp(&self, position: i64) -> usize {
        position.clamp(0, self.input as i64 - 1) as usize
    }
}

/// The interpolation along an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// Linear or cubic.
    pub(crate) mode: ResizeMode,
    /// Whether downsampling averages over all elements that an output element covers.
    pub(crate) antialias: bool,
    /// Whether elements beyond the ends weigh nothing, rather than repeating the outermost.
    pub(crate) exclude_outside: bool,
    /// The coefficient of cubic interpolation.
    pub(crate) cubic_a: f64,
}

impl Filter {
    /// Elements on each side of a coordinate at scale 1.
    fn radius(&self) -> f64 {
        if self.mode == ResizeMode::Cubic { 2.0 } else { 1.0 }
    }

    /// Position of the first tap relative to the element at or left of the coordinate.
    fn start(&self, scale: f64) -> i64 {
        let scale = if self.antialias { scale.min(1.0) } else { 1.0 };
        (-self.radius() / scale).floor() as i64 + 1
    }

    /// Number of taps. At most a few times the input, whatever the scale says.
    pub(crate) fn taps(&self, axis: &Axis) -> usize {
        let n = 2i64.saturating_sub(self.start(axis.scale).saturating_mul(2));
        (n.max(0) as usize).min(8usize.saturating_mul(axis.input).saturating_add(16))
    }

    fn weight(&self, distance: f64) -> f64 {
        let (x, a) = (distance.abs(), self.cubic_a);
        match self.mode {
            ResizeMode::Cubic if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            ResizeMode::Cubic if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            ResizeMode::Cubic => 0.0,
            _ => (1.0 - x).max(0.0),
        }
    }

    /// Writes the weights of output element `i`, one for each tap, and returns the position of the first tap.
    pub(crate) fn weights(&self, axis: &Axis, i: usize, weights: &mut [f64]) -> i64 {
        let x = axis.coordinate(i);
        let floor = x.floor();
        let scale = if self.antialias { axis.scale.min(1.0) } else { 1.0 };
        // An element at a whole number counts as the right one of two, as ONNX's reference has it.
        let (left, ratio) = if x == floor { (floor as i64 - 1, 1.0) } else { (floor as i64, x - floor) };
        let start = self.start(axis.scale);
        for (k, weight) in weights.iter_mut().enumerate() {
            *weight = self.weight(scale * ((start + k as i64) as f64 - ratio));
        }
        let first = left + start;
        if self.exclude_outside {
            for (k, weight) in weights.iter_mut().enumerate() {
                if !(0..axis.input as i64).contains(&(first + k as i64)) {
                    *weight = 0.0;
                }
            }
        }
        let sum: f64 = weights.iter().sum();
        if (self.antialias || self.exclude_outside) && sum != 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        first
    }
}
