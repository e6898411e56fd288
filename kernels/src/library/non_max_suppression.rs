//! `non_max_suppression`: the boxes with the highest scores that do not overlap one another.

use super::args::{Args, error, kernels};
use super::select::set_count;
use crate::abi::{KernelError, Operand};

kernels! {
    /// ONNX `NonMaxSuppression`. The three limits may be absent. `y` has room for [most, 3]; `count` rows are written.
    NON_MAX_SUPPRESSION = "non_max_suppression"
        ["boxes", "scores", "max_output_boxes_per_class", "iou_threshold", "score_threshold"] -> ["y", "count"]
        {"center_point_box"}, non_max_suppression,
        scratch = |operands: &[Operand], _: &[i64], _: usize| {
            operands.first().map_or(0, |boxes| boxes.len().saturating_mul(2 * size_of::<i64>()))
        };
}

/// The corners of a box, low before high.
#[derive(Clone, Copy)]
struct Corners {
    x: [f32; 2],
    y: [f32; 2],
}

impl Corners {
    fn new(values: &[f32], center_point: bool) -> Corners {
        let &[a, b, c, d] = values else { return Corners { x: [0.0; 2], y: [0.0; 2] } };
        let ordered = |p: f32, q: f32| if p > q { [q, p] } else { [p, q] };
        match center_point {
            true => Corners { x: [a - c / 2.0, a + c / 2.0], y: [b - d / 2.0, b + d / 2.0] },
            false => Corners { x: ordered(b, d), y: ordered(a, c) },
        }
    }

    fn area(&self) -> f32 {
        (self.x[1] - self.x[0]) * (self.y[1] - self.y[0])
    }

    /// Whether the intersection is more than `threshold` of the union.
    fn overlaps(&self, other: &Corners, threshold: f32) -> bool {
        let side = |a: [f32; 2], b: [f32; 2]| a[1].min(b[1]) - a[0].max(b[0]);
        let (width, height) = (side(self.x, other.x), side(self.y, other.y));
        if width <= 0.0 || height <= 0.0 {
            return false;
        }
        let intersection = width * height;
        let (a, b) = (self.area(), other.area());
        let union = a + b - intersection;
        intersection > 0.0 && a > 0.0 && b > 0.0 && union > 0.0 && intersection / union > threshold
    }
}

fn non_max_suppression(args: &mut Args) -> Result<(), KernelError> {
    let (boxes_shape, scores_shape) = (args.shape(0)?, args.shape(1)?);
    let (&[batches, n, 4], &[scored, classes, m]) = (&boxes_shape[..], &scores_shape[..]) else {
        return Err(error("expected boxes of shape [batches, boxes, 4] and scores [batches, classes, boxes]"));
    };
    if (batches, n) != (scored, m) {
        return Err(error(format!("{batches} x {n} boxes and {scored} x {m} scores differ")));
    }
    let (boxes, scores) = (args.input::<f32>(0)?, args.input::<f32>(1)?);
    let most = args.optional::<i64>(2)?.and_then(|v| v.first().copied()).unwrap_or(0).max(0) as usize;
    let threshold = args.optional::<f32>(3)?.and_then(|v| v.first().copied()).unwrap_or(0.0);
    let least_score = args.optional::<f32>(4)?.and_then(|v| v.first().copied());
    let center_point = args.flag(0)?;
    // SAFETY: `scratch` asked for two numbers per coordinate of a box; this is the only use.
    let (candidates, selected) = unsafe { args.scratch::<i64>(2 * n) }.split_at_mut(n);
    let y = args.output::<i64>()?;
    let mut count = 0;
    for class in 0..batches * classes {
        let boxes = &boxes[class / classes * n * 4..][..n * 4];
        let scores = &scores[class * n..][..n];
        let corners = |i: i64| Corners::new(&boxes[i as usize * 4..][..4], center_point);
        let score = |i: i64| scores[i as usize];
        let mut n_candidates = 0;
        for i in 0..n as i64 {
            if least_score.is_none_or(|least| score(i) > least) {
                candidates[n_candidates] = i;
                n_candidates += 1;
            }
        }
        let candidates = &mut candidates[..n_candidates];
        candidates.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        let mut n_selected = 0;
        for &candidate in candidates.iter() {
            if n_selected == most {
                break;
            }
            let found = corners(candidate);
            if selected[..n_selected].iter().any(|&other| found.overlaps(&corners(other), threshold)) {
                continue;
            }
            selected[n_selected] = candidate;
            n_selected += 1;
            let Some(row) = y.get_mut(count * 3..count * 3 + 3) else {
                return Err(error(format!("expected room for more than {count} boxes")));
            };
            row.copy_from_slice(&[(class / classes) as i64, (class % classes) as i64, candidate]);
            count += 1;
        }
    }
    set_count(args, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run};
    use ic_types::DType;

    const BOXES: [f32; 24] = [
        0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0, 10.1, 1.0, 11.1, 0.0,
        100.0, 1.0, 101.0,
    ];
    const SCORES: [f32; 6] = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];

    fn select(boxes: &[f32], most: Option<i64>, score: Option<f32>, center_point: i64) -> Vec<i64> {
        let inputs = [
            Buffer::f32(&[1, 6, 4], boxes),
            Buffer::f32(&[1, 1, 6], &SCORES),
            most.map_or(Buffer::absent(), |most| Buffer::i64(&[1], &[most])),
            Buffer::f32(&[1], &[0.5]),
            score.map_or(Buffer::absent(), |score| Buffer::f32(&[1], &[score])),
        ];
        let outputs = vec![Buffer::out::<i64>(DType::I64, &[6, 3]), Buffer::out::<i64>(DType::I64, &[1])];
        let found = run(&NON_MAX_SUPPRESSION, &inputs, &[center_point], outputs).unwrap();
        let count = found[1].values::<i64>()[0] as usize;
        found[0].values::<i64>()[..3 * count].chunks(3).map(|row| row[2]).collect()
    }

    #[test]
    fn selects_by_score() {
        assert_eq!(select(&BOXES, Some(3), Some(0.0), 0), [3, 0, 5]);
        assert_eq!(select(&BOXES, Some(2), None, 0), [3, 0]);
        assert_eq!(select(&BOXES, Some(3), Some(0.4), 0), [3, 0]);
        assert_eq!(select(&BOXES, None, None, 0), []);
        let flipped: Vec<f32> = BOXES.chunks(4).flat_map(|b| [b[2], b[3], b[0], b[1]]).collect();
        assert_eq!(select(&flipped, Some(3), None, 0), [3, 0, 5]);
    }

    #[test]
    fn takes_centres() {
        let centres: Vec<f32> = BOXES
            .chunks(4)
            .flat_map(|b| [(b[1] + b[3]) / 2.0, (b[0] + b[2]) / 2.0, b[3] - b[1], b[2] - b[0]])
            .collect();
        assert_eq!(select(&centres, Some(3), None, 1), [3, 0, 5]);
    }
}
