//! Winograd convolutions: against direct sums in f64, and bit for bit between instruction sets and threads.

use super::harness::{Random, Tensor, Threads, assert_same_bits, run};
use crate::abi::{EpilogueOp, Parallel, Serial, Strip};
use crate::isa::Isa;
use crate::pack::{pack_winograd_weights, winograd_weights_len};
use crate::table::find;

/// A convolution of 3 by 3 filters.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    size: [usize; 2],
    inputs: usize,
    outputs: usize,
    /// Before and after, on height and width.
    pad: [[usize; 2]; 2],
}

const CASE: Case = Case { batch: 1, size: [9, 14], inputs: 5, outputs: 18, pad: [[1, 1], [1, 1]] };

impl Case {
    fn result(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.size[axis] + self.pad[axis][0] + self.pad[axis][1] - 2)
    }

    fn attrs(&self) -> [i64; 9] {
        [3, 3, 1, 1, self.pad[0][0] as i64, self.pad[1][0] as i64, 1, 1, 1]
    }
}

/// The direct sums, in f64.
fn direct(case: &Case, x: &[f32], w: &[f32]) -> Vec<f64> {
    let ([height, width], [h, wide]) = (case.size, case.result());
    let mut y = Vec::new();
    for flat in 0..case.batch * h * wide * case.outputs {
        let (pixel, output) = (flat / case.outputs, flat % case.outputs);
        let (n, i, j) = (pixel / wide / h, pixel / wide % h, pixel % wide);
        let mut sum = 0.0;
        for tap in 0..9 {
            let (row, column) = (i + tap / 3, j + tap % 3);
            let (Some(row), Some(column)) = (row.checked_sub(case.pad[0][0]), column.checked_sub(case.pad[1][0]))
            else {
                continue;
            };
            if row >= height || column >= width {
                continue;
            }
            let pixel = ((n * height + row) * width + column) * case.inputs;
            for c in 0..case.inputs {
                sum += f64::from(x[pixel + c]) * f64::from(w[(output * case.inputs + c) * 9 + tap]);
            }
        }
        y.push(sum);
    }
    y
}

fn check(case: Case) {
    let mut random = Random::new(7);
    let Case { batch, size: [height, width], inputs, outputs, .. } = case;
    let x = Tensor::random(&[batch, height, width, inputs], &mut random);
    let w = Tensor::random(&[outputs, inputs, 3, 3], &mut random);
    let packed = packed(&w, outputs, inputs);
    let [h, wide] = case.result();
    let expected = direct(&case, &x.data, &w.data);
    // The 9 * C products are of order 1; the constants of the transforms, up to 8, raise the error of a sum of them.
    let tolerance = 2e-5 * (9.0 * inputs as f64).sqrt();
    let mut bits: Option<Vec<f32>> = None;
    for isa in Isa::supported() {
        for pool in [&Serial as &dyn Parallel, &Threads(2), &Threads(3)] {
            let mut operands = [x.clone(), packed.clone(), Tensor::unset(&[batch, h, wide, outputs])];
            let kernel = find("f32_winograd_conv_nhwc", 1, isa).expect("exists");
            run(kernel, &mut operands, &case.attrs(), &[], None, pool).expect("runs");
            let found = operands[2].data.clone();
            for (i, (&found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(found) - expected).abs();
                assert!(error <= tolerance, "{case:?} {}: element {i} is {found}, not {expected}", isa.name());
            }
            let what = format!("{case:?} {} {} threads", isa.name(), pool.threads());
            assert_same_bits(&found, bits.get_or_insert_with(|| found.clone()), &what);
        }
    }
}

fn packed(w: &Tensor, outputs: usize, inputs: usize) -> Tensor {
    let mut packed = Tensor::dense(&[outputs, inputs, 3, 3], vec![f32::NAN; winograd_weights_len(outputs, inputs)]);
    let filter = |i: usize, buffer: &mut [f32]| buffer.copy_from_slice(&w.data[i * inputs * 9..][..inputs * 9]);
    pack_winograd_weights(outputs, inputs, filter, &mut packed.data);
    packed
}

#[test]
fn channels_around_panels() {
    for inputs in [1, 15, 16, 17, 40] {
        for outputs in [1, 16, 17, 70] {
            check(Case { inputs, outputs, ..CASE });
        }
    }
}

#[test]
fn extents_around_tiles() {
    for height in [1, 3, 4, 5, 8] {
        for width in [2, 4, 7, 33] {
            check(Case { size: [height, width], batch: 2, ..CASE });
        }
    }
    check(Case { batch: 0, ..CASE });
}

#[test]
fn padding_on_each_side() {
    for pad in [[[0, 0], [0, 0]], [[1, 0], [0, 1]], [[2, 2], [0, 2]], [[0, 4], [3, 0]]] {
        check(Case { pad, ..CASE });
    }
}

#[test]
fn several_blocks_and_chunks() {
    check(Case { size: [61, 70], inputs: 3, outputs: 4, ..CASE });
    check(Case { size: [30, 30], inputs: 200, outputs: 130, ..CASE });
}

#[test]
fn epilogues_into_a_slice_of_channels() {
    let mut random = Random::new(8);
    let (bias, residual) = (random.values(18), random.values(9 * 14 * 30));
    let w = Tensor::random(&[18, 5, 3, 3], &mut random);
    let x = Tensor::random(&[1, 9, 14, 5], &mut random);
    let ops = [
        EpilogueOp::AddColumn(bias.as_ptr()),
        EpilogueOp::AddTensor(residual.as_ptr()),
        EpilogueOp::Strip(Strip::Relu),
        EpilogueOp::Strip(Strip::Sigmoid),
        EpilogueOp::AddColumn(bias.as_ptr()),
    ];
    for isa in Isa::supported() {
        let kernel = find("f32_winograd_conv_nhwc", 1, isa).expect("exists");
        let call = |epilogue: &[EpilogueOp]| {
            let mut y = Tensor::unset(&[1, 9, 14, 30]);
            y.shape[3] = 18;
            let mut operands = [x.clone(), packed(&w, 18, 5), y];
            run(kernel, &mut operands, &CASE.attrs(), epilogue, None, &Threads(2)).expect("runs");
            operands[2].data.clone()
        };
        let plain = call(&[]);
        for n_ops in [3, 5] {
            let found = call(&ops[..n_ops]);
            for (i, (&sum, &found)) in plain.iter().zip(&found).enumerate() {
                // SAFETY: the vectors cover the columns.
                let expected = unsafe { super::epilogue_oracle::eval(&ops[..n_ops], sum, i % 30, i) };
                let expected = if i % 30 < 18 { expected } else { f32::NAN };
                assert_same_bits(&[found], &[expected], &format!("{} element {i}", isa.name()));
            }
        }
    }
}

#[test]
fn other_convolutions_are_refused() {
    let mut operands = [Tensor::unset(&[1, 4, 4, 1]), Tensor::unset(&[1, 1, 3, 3]), Tensor::unset(&[1, 4, 4, 1])];
    for attrs in [[3, 3, 2, 1, 1, 1, 1, 1, 1], [3, 3, 1, 1, 1, 1, 1, 2, 1], [1, 3, 1, 1, 1, 1, 1, 1, 1]] {
        let kernel = find("f32_winograd_conv_nhwc", 1, Isa::detect()).expect("exists");
        run(kernel, &mut operands, &attrs, &[], None, &Serial).expect_err("refused");
    }
}
