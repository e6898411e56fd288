//! `non_max_suppression`: the best of overlapping boxes. ONNX `NonMaxSuppression`, opset 11.

use crate::eval::{ints, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Tensor};

crate::attrs! {
    /// `boxes` is `[batch, n, 4]`, `scores` is `[batch, classes, n]`, both f32. The first result has the batch, class and
    /// box of each that is selected, classes in order and boxes by falling score, as the first elements of an i64 vector
    /// that has room for all boxes; the second is how many are selected, as i64 `[1]`. What is behind them is unspecified.
    ///
    /// At most `max_per_class` boxes of a class are selected, none if it is absent. A box whose intersection over union
    /// with a selected one is above `iou_threshold`, 0 if absent, is dropped, and so is one whose score is not above
    /// `score_threshold`.
    NonMaxSuppression {
        /// Whether boxes are `x, y, width, height` about their centres rather than two corners `y1, x1, y2, x2`.
        center_point_box: bool = false
    }
}

impl OpDef for NonMaxSuppression {
    const OPERANDS: &'static [OperandSpec] = &[
        OperandSpec::required("boxes"),
        OperandSpec::required("scores"),
        OperandSpec::optional("max_per_class"),
        OperandSpec::optional("iou_threshold"),
        OperandSpec::optional("score_threshold"),
    ];

    fn n_results(&self) -> usize {
        2
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (boxes, scores) = (x.ty(0)?, x.ty(1)?);
        super::check_float(boxes, "boxes")?;
        super::check_float(scores, "scores")?;
        ensure!(boxes.rank() == 3 && scores.rank() == 3, "`boxes` and `scores` must have rank 3");
        x.equal(&boxes.shape[0], &scores.shape[0], "batch extents of `boxes` and `scores`")?;
        x.equal(&boxes.shape[1], &scores.shape[2], "numbers of boxes and of scores")?;
        x.equal(&4.into(), &boxes.shape[2], "the last extent of `boxes` and 4")?;
        for (i, name, dtype) in LIMITS {
            if let Some(limit) = x.opt(i) {
                ensure!(limit.dtype == dtype, "`{name}` must be {dtype}, found {}", limit.dtype);
                x.equal(&limit.elements(), &1.into(), name)?;
            }
        }
        let room = scores.elements() * 3.into();
        Ok(vec![TensorType::new(DType::I64, vec![room]).into(), TensorType::fixed(DType::I64, &[1]).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (boxes, scores) = (x.get(0)?, x.get(1)?);
        let fits = boxes.rank() == 3
            && scores.rank() == 3
            && boxes.shape()[0] == scores.shape()[0]
            && boxes.shape()[1] == scores.shape()[2]
            && boxes.shape()[2] == 4;
        ensure!(fits, "`boxes` {:?} and `scores` {:?} do not fit", boxes.shape(), scores.shape());
        let (classes, n) = (scores.shape()[1], scores.shape()[2]);
        let (boxes, scores) = (reals(boxes)?, reals(scores)?);
        let corners: Vec<[f64; 4]> = boxes.chunks(4).map(|b| self.corners(b)).collect();
        let real = |i: usize| -> Result<Option<f64>, OpError> {
            Ok(x.opt(i).map(reals).transpose()?.and_then(|limit| limit.first().copied()))
        };
        let most = x.opt(2).map(ints).transpose()?.and_then(|most| most.first().copied()).unwrap_or(0);
        let limits = Limits { most, iou: real(3)?.unwrap_or(0.0), score: real(4)? };
        let n_scores = scores.len();
        let mut selected = Vec::new();
        for (i, scores) in scores.chunks(n.max(1)).enumerate() {
            let (batch, class) = (i / classes, i % classes);
            let corners = &corners[batch * n..][..n];
            for best in limits.select(corners, scores) {
                selected.extend([batch as i64, class as i64, best as i64]);
            }
        }
        let count = Tensor::from_elements(vec![1], vec![selected.len() as i64 / 3]);
        selected.resize(n_scores * 3, 0);
        Ok(vec![Tensor::new(vec![selected.len()], Data::I64(selected)), count])
    }
}

impl NonMaxSuppression {
    /// The box as `y1, x1, y2, x2` with the smaller coordinates first.
    fn corners(&self, b: &[f64]) -> [f64; 4] {
        if self.center_point_box {
            let (half_width, half_height) = (b[2] / 2.0, b[3] / 2.0);
            return [b[1] - half_height, b[0] - half_width, b[1] + half_height, b[0] + half_width];
        }
        [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
    }
}

/// The optional operands: position, name and element type.
const LIMITS: [(usize, &str, DType); 3] =
    [(2, "max_per_class", DType::I64), (3, "iou_threshold", DType::F32), (4, "score_threshold", DType::F32)];

/// What the optional operands say.
struct Limits {
    most: i128,
    iou: f64,
    score: Option<f64>,
}

impl Limits {
    /// The selected boxes of one class, best first.
    fn select(&self, corners: &[[f64; 4]], scores: &[f64]) -> Vec<usize> {
        let above = |&i: &usize| self.score.is_none_or(|least| scores[i] > least);
        let mut candidates: Vec<usize> = (0..scores.len()).filter(above).collect();
        candidates.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut selected: Vec<usize> = Vec::new();
        for candidate in candidates {
            if selected.len() as i128 >= self.most {
                break;
            }
            let overlaps = |&s: &usize| overlap(&corners[s], &corners[candidate]) > self.iou;
            if !selected.iter().any(overlaps) {
                selected.push(candidate);
            }
        }
        selected
    }
}

/// Intersection over union; 0 for empty boxes.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let height = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let width = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let (intersection, areas) = (height * width, (area(a), area(b)));
    if areas.0 <= 0.0 || areas.1 <= 0.0 { 0.0 } else { intersection / (areas.0 + areas.1 - intersection) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_boxes_are_dropped() {
        let boxes = vec![0.0f32, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, 5.0, 1.0, 6.0];
        let boxes = Tensor::from_elements(vec![1, 3, 4], boxes);
        let scores = Tensor::from_elements(vec![1, 1, 3], vec![0.8f32, 0.9, 0.7]);
        let (most, half, zero) = (Tensor::scalar(3i64), Tensor::scalar(0.5f32), Tensor::scalar(0.0f32));
        let operands = [&boxes, &scores, &most, &half, &zero].map(Some).to_vec();
        let x = Tensors { operands, regions: &[], symbols: &|_| None };
        let y = NonMaxSuppression { center_point_box: false }.eval(&x).unwrap();
        assert_eq!(y[0], Tensor::from_elements(vec![9], vec![0i64, 0, 1, 0, 0, 2, 0, 0, 0]));
        assert_eq!(y[1], Tensor::from_elements(vec![1], vec![2i64]));
    }
}
