//! `roi_align`: regions of interest averaged on a grid. ONNX `RoiAlign`, opset 22.

use crate::eval::{checked_len, from_reals, indices, reals, wrap_index, zeros};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::word_attr! {
    /// How the samples of a cell combine.
    RoiMode {
        /// Their mean.
        Avg = "avg",
        /// The largest weighted neighbour of any sample.
        Max = "max",
    }
}

crate::attrs! {
    /// `x` is `[N, C, H, W]`, `rois` is `[R, 4]` with `x1, y1, x2, y2`, `batch_indices` is `[R]` and the result is
    /// `[R, C, output_height, output_width]`.
    RoiAlign {
        /// How the samples of a cell combine.
        mode: RoiMode = RoiMode::Avg,
        /// Cells of a region along its height.
        output_height: usize = 1,
        /// Cells of a region along its width.
        output_width: usize = 1,
        /// Samples of a cell along each axis; 0 takes as many as elements that it covers.
        sampling_ratio: usize = 0,
        /// What multiplies the coordinates of regions.
        spatial_scale: F32 = F32(1.0),
        /// Whether coordinates are those of edges, half an element before its centre; regions may then be empty.
        half_pixel: bool = true
    }
}

/// Samples of a cell along an axis beyond which a region is refused.
const MAX_SAMPLES: f64 = 4096.0;

impl OpDef for RoiAlign {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("rois"), OperandSpec::required("batch_indices")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (image, rois, batch) = (x.ty(0)?, x.ty(1)?, x.ty(2)?);
        super::check_float(image, "x")?;
        super::check_indices(batch)?;
        ensure!(image.rank() == 4, "`x` must have rank 4, found {image}");
        ensure!(rois.rank() == 2 && rois.dtype == image.dtype, "`rois` must be {}[R, 4], found {rois}", image.dtype);
        x.equal(&4.into(), &rois.shape[1], "the last extent of `rois` and 4")?;
        super::check_operand(x, 2, "batch_indices", &TensorType::new(batch.dtype, vec![rois.shape[0].clone()]))?;
        let cells = |n: usize| super::spatial::dim(n);
        let shape: Vec<Dim> =
            vec![rois.shape[0].clone(), image.shape[1].clone(), cells(self.output_height), cells(self.output_width)];
        Ok(vec![TensorType::new(image.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (image, batch) = (x.get(0)?, indices(x.get(2)?)?);
        let rois = reals(x.get(1)?)?;
        ensure!(image.rank() == 4 && rois.len() == 4 * batch.len(), "`rois` do not fit `batch_indices`");
        let (channels, extents) = (image.shape()[1], [image.shape()[2], image.shape()[3]]);
        let shape = vec![batch.len(), channels, self.output_height, self.output_width];
        if checked_len(&shape)? == 0 {
            return Ok(vec![zeros(image.dtype(), shape)?]);
        }
        let mut result = Vec::new();
        let (values, area) = (reals(image)?, extents[0] * extents[1]);
        for (roi, &n) in rois.chunks(4).zip(&batch) {
            let n = wrap_index(n, image.shape()[0])?;
            let rows = self.samples(roi[1], roi[3], self.output_height, extents[0])?;
            let columns = self.samples(roi[0], roi[2], self.output_width, extents[1])?;
            for c in 0..channels {
                let plane = &values[(n * channels + c) * area..][..area];
                for cell in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
                    result.push(self.cell(plane, extents[1], cell.0, cell.1));
                }
            }
        }
        Ok(vec![from_reals(image.dtype(), shape, result)?])
    }
}

/// Two neighbours of a sample along an axis with their weights; `None` far outside of the image.
type Sample = Option<[(usize, f64); 2]>;

impl RoiAlign {
    /// For each cell along an axis, its samples.
    fn samples(&self, begin: f64, end: f64, n_cells: usize, extent: usize) -> Result<Vec<Vec<Sample>>, OpError> {
        let (scale, shift) = (f64::from(self.spatial_scale.0), if self.half_pixel { 0.5 } else { 0.0 });
        let begin = begin * scale - shift;
        let length = end * scale - shift - begin;
        let length = if self.half_pixel { length } else { length.max(1.0) };
        let cell = length / n_cells as f64;
        let n_samples = if self.sampling_ratio > 0 { self.sampling_ratio as f64 } else { libm::ceil(cell) };
        let plausible = n_samples <= MAX_SAMPLES;
        ensure!(plausible, "a region of interest is larger than {MAX_SAMPLES} elements a cell");
        let at = |i: usize, j: usize| begin + i as f64 * cell + (j as f64 + 0.5) * cell / n_samples;
        let samples = |i: usize| (0..n_samples.max(0.0) as usize).map(|j| sample(at(i, j), extent)).collect();
        Ok((0..n_cells).map(samples).collect())
    }

    fn cell(&self, plane: &[f64], width: usize, rows: &[Sample], columns: &[Sample]) -> f64 {
        let mut sum = 0.0;
        let mut max: Option<f64> = None;
        for (row, column) in rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))) {
            let terms: Vec<f64> = match (row, column) {
                (Some(row), Some(column)) => {
                    row.iter().flat_map(|r| column.iter().map(move |c| plane[r.0 * width + c.0] * r.1 * c.1)).collect()
                }
                _ => vec![0.0],
            };
            sum += terms.iter().fold(0.0, |a, b| a + b);
            let largest = terms.into_iter().fold(f64::NEG_INFINITY, f64::max);
            max = Some(max.map_or(largest, |max| max.max(largest)));
        }
        match self.mode {
            RoiMode::Avg => sum / (rows.len() * columns.len()).max(1) as f64,
            RoiMode::Max => max.unwrap_or(0.0),
        }
    }
}

fn sample(at: f64, extent: usize) -> Sample {
    if extent == 0 || !(-1.0..=extent as f64).contains(&at) {
        return None;
    }
    let at = at.max(0.0);
    let low = (at as usize).min(extent - 1);
    let weight = if low == extent - 1 { 0.0 } else { at - low as f64 };
    Some([(low, 1.0 - weight), ((low + 1).min(extent - 1), weight)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_mean_of_its_samples() {
        let image = Tensor::from_elements(vec![1, 1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let rois = Tensor::from_elements(vec![1, 4], vec![0.0f32, 0.0, 2.0, 2.0]);
        let batch = Tensor::from_elements(vec![1], vec![0i64]);
        let operands = vec![Some(&image), Some(&rois), Some(&batch)];
        let x = Tensors { operands, regions: &[], symbols: &|_| None };
        let op = RoiAlign {
            mode: RoiMode::Avg,
            output_height: 1,
            output_width: 1,
            sampling_ratio: 2,
            spatial_scale: F32(1.0),
            half_pixel: true,
        };
        assert_eq!(op.eval(&x).unwrap()[0].elements::<f32>().unwrap(), [2.5]);
    }
}
