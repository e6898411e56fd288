//! `non_max_suppression`: the best of overlapping boxes. ONNX `NonMaxSuppression`, opset 11.

use crate::eval::reals;
use crate::{F32, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Dim, Tensor};

crate::attrs! {
    /// `boxes` is `[batch, n, 4]`, `scores` is `[batch, classes, n]`; the result is i64 `[count, 3]` with the batch, class
    /// and box of each that is selected, classes in order and boxes by falling score.
    NonMaxSuppression {
        /// How many are selected: a symbol of its own, which the run binds.
        count: Dim,
        /// Most boxes of a class; 0 selects none.
        max_per_class: i64,
        /// A box whose intersection over union with a selected one is above this is dropped.
        iou_threshold: F32,
        /// Only boxes with scores above this count; `-inf` takes all.
        score_threshold: F32,
        /// Whether boxes are `x, y, width, height` about their centres rather than two corners `y1, x1, y2, x2`.
        center_point_box: bool = false
    }
}

impl OpDef for NonMaxSuppression {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("boxes"), OperandSpec::required("scores")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (boxes, scores) = (x.ty(0)?, x.ty(1)?);
        super::check_float(boxes, "boxes")?;
        super::check_float(scores, "scores")?;
        ensure!(boxes.rank() == 3 && scores.rank() == 3, "`boxes` and `scores` must have rank 3");
        x.equal(&boxes.shape[0], &scores.shape[0], "batch extents of `boxes` and `scores`")?;
        x.equal(&boxes.shape[1], &scores.shape[2], "numbers of boxes and of scores")?;
        x.equal(&4.into(), &boxes.shape[2], "the last extent of `boxes` and 4")?;
        Ok(vec![TensorType::new(DType::I64, vec![self.count.clone(), 3.into()]).into()])
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
        let mut selected = Vec::new();
        for (i, scores) in scores.chunks(n.max(1)).enumerate() {
            let (batch, class) = (i / classes, i % classes);
            let corners = &corners[batch * n..][..n];
            for best in self.select(corners, scores) {
                selected.extend([batch as i64, class as i64, best as i64]);
            }
        }
        Ok(vec![Tensor::new(vec![selected.len() / 3, 3], Data::I64(selected))])
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

    /// The selected boxes of one class, best first.
    fn select(&self, corners: &[[f64; 4]], scores: &[f64]) -> Vec<usize> {
        let threshold = f64::from(self.score_threshold.0);
        let above = |&i: &usize| threshold == f64::NEG_INFINITY || scores[i] > threshold;
        let mut candidates: Vec<usize> = (0..scores.len()).filter(above).collect();
        candidates.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut selected: Vec<usize> = Vec::new();
        for candidate in candidates {
            if selected.len() as i64 >= self.max_per_class {
                break;
            }
            let overlaps = |&s: &usize| overlap(&corners[s], &corners[candidate]) > self.iou_threshold.0.into();
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
        let x = Tensors { operands: vec![Some(&boxes), Some(&scores)], regions: &[], symbols: &|_| None };
        let op = NonMaxSuppression {
            count: Dim::symbol("count"),
            max_per_class: 3,
            iou_threshold: F32(0.5),
            score_threshold: F32(0.0),
            center_point_box: false,
        };
        assert_eq!(op.eval(&x).unwrap()[0], Tensor::from_elements(vec![2, 3], vec![0i64, 0, 1, 0, 0, 2]));
    }
}
