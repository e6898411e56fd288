//! Convolutions: filters, strides, padding, groups, views, epilogues, threads.

use super::conv_oracle;
use super::harness::{HALVES, Random, Tensor, Threads, assert_same_bits, run, run_halves};
use crate::abi::{EpilogueOp, Kernel, Parallel, Serial, Strip};
use crate::isa::Isa;
use crate::pack::{
    ConvTransposeShape, ConvWeightShape, conv_transpose_weights_len, conv_weights_len, depthwise_weights_len,
    pack_conv_transpose_weights, pack_conv_weights, pack_depthwise_weights,
};
use crate::table::find;

/// A convolution; pairs are (height, width).
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    size: [usize; 2],
    inputs: usize,
    outputs: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Before and after, on both axes.
    pad: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

const CASE: Case = Case {
    batch: 1,
    size: [7, 9],
    inputs: 5,
    outputs: 18,
    kernel: [3, 3],
    stride: [1, 1],
    pad: [1, 1],
    dilation: [1, 1],
    groups: 1,
};

impl Case {
    fn attrs(&self) -> Vec<i64> {
        let [kernel, stride, dilation] = [self.kernel, self.stride, self.dilation];
        let pad = [self.pad[0]; 2];
        let pairs = [kernel, stride, pad, dilation];
        pairs.into_iter().flatten().chain([self.groups]).map(|value| value as i64).collect()
    }

    fn output_size(&self) -> [usize; 2] {
        [0, 1].map(|d| {
            let padded = self.size[d] + self.pad[0] + self.pad[1];
            padded.saturating_sub(self.dilation[d] * (self.kernel[d] - 1) + 1) / self.stride[d] + 1
        })
    }

    fn transposed_size(&self) -> [usize; 2] {
        [0, 1].map(|d| {
            let full = (self.size[d] - 1) * self.stride[d] + self.dilation[d] * (self.kernel[d] - 1) + 1;
            full.saturating_sub(self.pad[0] + self.pad[1])
        })
    }
}

/// Random weights, packed and as they are: a filter has `filter` elements, and `pack` packs filters given by a function.
fn weights(
    shape: [usize; 4],
    filter: usize,
    len: usize,
    random: &mut Random,
    pack: impl FnOnce(&mut dyn FnMut(usize, &mut [f32]), &mut [f32]),
) -> (Tensor, Tensor) {
    let values = Tensor::random(&shape, random);
    let mut tensor = Tensor::dense(&shape, vec![f32::NAN; len]);
    pack(&mut |i, buffer| buffer.copy_from_slice(&values.data[i * filter..][..filter]), &mut tensor.data);
    (tensor, values)
}

/// Checks a call on every instruction set, alone and on threads, against the oracle.
fn check(name: &str, operands: &[Tensor], attrs: &[i64], epilogue: &[EpilogueOp], what: &dyn std::fmt::Debug) {
    let run_oracle = match name {
        "f32_conv_nhwc" => conv_oracle::conv,
        "f32_depthwise_conv_nhwc" => conv_oracle::depthwise,
        _ => conv_oracle::conv_transpose,
    };
    let oracle = Kernel { scratch: |_, _, _| 0, run: run_oracle, ..*find(name, 1, Isa::Portable).expect("exists") };
    let mut expected = operands.to_vec();
    run(&oracle, &mut expected, attrs, epilogue, None, &Serial).expect("the oracle runs");
    for isa in Isa::supported() {
        for pool in [&Serial as &dyn Parallel, &Threads(2)] {
            let mut operands = operands.to_vec();
            run(find(name, 1, isa).expect("exists"), &mut operands, attrs, epilogue, None, pool).expect("runs");
            let what = format!("{name} {what:?} {} {} threads", isa.name(), pool.threads());
            assert_same_bits(&operands[2].data, &expected[2].data, &what);
        }
    }
}

/// Checks that weights packed by the kernel give what packed ones give.
fn check_unpacked(name: &str, operands: &[Tensor], w: Tensor, attrs: &[i64], what: &dyn std::fmt::Debug) {
    for isa in Isa::supported() {
        for pool in [&Serial as &dyn Parallel, &Threads(2)] {
            let [mut expected, mut found] = [operands.to_vec(), operands.to_vec()];
            found[1] = w.clone();
            for (layout, operands) in [(1, &mut expected), (0, &mut found)] {
                run(find(name, layout, isa).expect("exists"), operands, attrs, &[], None, pool).expect("runs");
            }
            assert_same_bits(&found[2].data, &expected[2].data, &format!("{name} {what:?} {}", isa.name()));
        }
    }
}

fn image(case: &Case, channels: usize, random: &mut Random) -> Tensor {
    Tensor::random(&[case.batch, case.size[0], case.size[1], channels], random)
}

fn check_conv(case: Case, epilogue: &[EpilogueOp]) {
    let mut random = Random::new(1);
    let Case { inputs, outputs, kernel: [kernel_h, kernel_w], groups, .. } = case;
    let shape = ConvWeightShape { outputs, inputs: inputs / groups, kernel_h, kernel_w, groups };
    let (w, unpacked) = weights(
        [outputs, inputs / groups, kernel_h, kernel_w],
        shape.filter_len(),
        conv_weights_len(shape),
        &mut random,
        |filter, packed| pack_conv_weights(shape, filter, packed),
    );
    let [h, width] = case.output_size();
    let operands = [image(&case, inputs, &mut random), w, Tensor::unset(&[case.batch, h, width, outputs])];
    check("f32_conv_nhwc", &operands, &case.attrs(), epilogue, &case);
    if epilogue.is_empty() {
        check_unpacked("f32_conv_nhwc", &operands, unpacked, &case.attrs(), &case);
        check_halves(operands, &case);
    }
}

/// Checks a convolution with weights of 16 bits against the one with the f32 weights that they widen to.
fn check_halves([x, w, y]: [Tensor; 3], case: &Case) {
    let attrs = case.attrs();
    for halves in HALVES {
        let (wide, bits) = halves.round(w.clone());
        let mut operands = [x.clone(), wide, y.clone()];
        for isa in Isa::supported() {
            let kernel = |layout| find("f32_conv_nhwc", layout, isa).expect("exists");
            let found = run_halves(kernel(2), &operands, (halves.dtype, &bits), &attrs, &Threads(2));
            run(kernel(1), &mut operands, &attrs, &[], None, &Serial).expect("runs");
            assert_same_bits(&found, &operands[2].data, &format!("{case:?} {} {}", halves.dtype, isa.name()));
        }
    }
}

fn check_depthwise(case: Case, epilogue: &[EpilogueOp]) {
    let mut random = Random::new(2);
    let Case { inputs: channels, kernel: [kernel_h, kernel_w], .. } = case;
    let (w, _) = weights(
        [channels, 1, kernel_h, kernel_w],
        kernel_h * kernel_w,
        depthwise_weights_len(channels, kernel_h, kernel_w),
        &mut random,
        |filter, packed| pack_depthwise_weights(channels, kernel_h, kernel_w, filter, packed),
    );
    let [h, width] = case.output_size();
    let operands = [image(&case, channels, &mut random), w, Tensor::unset(&[case.batch, h, width, channels])];
    check("f32_depthwise_conv_nhwc", &operands, &case.attrs(), epilogue, &case);
}

fn check_transpose(case: Case, epilogue: &[EpilogueOp]) {
    let mut random = Random::new(3);
    let Case { inputs, outputs, kernel, stride, dilation, groups, .. } = case;
    let shape = ConvTransposeShape { inputs, outputs: outputs / groups, kernel, stride, dilation, groups };
    let (w, unpacked) = weights(
        [inputs, outputs / groups, kernel[0], kernel[1]],
        outputs / groups * kernel[0] * kernel[1],
        conv_transpose_weights_len(shape),
        &mut random,
        |filter, packed| pack_conv_transpose_weights(shape, filter, packed),
    );
    let [h, width] = case.transposed_size();
    let operands = [image(&case, inputs, &mut random), w, Tensor::unset(&[case.batch, h, width, outputs])];
    check("f32_conv_transpose_nhwc", &operands, &case.attrs(), epilogue, &case);
    if epilogue.is_empty() {
        check_unpacked("f32_conv_transpose_nhwc", &operands, unpacked, &case.attrs(), &case);
    }
}

#[test]
fn channels_around_panels() {
    for inputs in [1, 3, 15, 16, 17] {
        for outputs in [1, 15, 16, 17, 40] {
            check_conv(Case { inputs, outputs, ..CASE }, &[]);
        }
    }
}

#[test]
fn filters_strides_and_padding() {
    for kernel in [[1, 1], [3, 3], [1, 5], [7, 7], [2, 3]] {
        for (stride, pad, dilation) in [
            ([1, 1], [0, 0], [1, 1]),
            ([2, 2], [3, 2], [1, 1]),
            ([2, 1], [1, 0], [1, 1]),
            ([1, 3], [2, 4], [2, 2]),
            ([1, 1], [0, 1], [3, 1]),
        ] {
            for inputs in [2, 16] {
                let size = [21, 24];
                check_conv(Case { size, inputs, kernel, stride, pad, dilation, ..CASE }, &[]);
            }
        }
    }
}

#[test]
fn batches_and_groups() {
    for (inputs, outputs, groups) in [(6, 9, 3), (32, 40, 2), (8, 8, 8), (34, 34, 2)] {
        check_conv(Case { batch: 2, inputs, outputs, groups, ..CASE }, &[]);
    }
    // More pixels than are kept for all groups at a time.
    check_conv(Case { size: [24, 23], inputs: 20, outputs: 12, groups: 4, ..CASE }, &[]);
    check_conv(Case { batch: 3, stride: [2, 2], ..CASE }, &[]);
    check_conv(Case { batch: 0, ..CASE }, &[]);
}

#[test]
fn depthwise_filters() {
    for channels in [1, 15, 16, 17, 35] {
        for (kernel, stride, dilation) in [
            ([3, 3], [1, 1], [1, 1]),
            ([3, 3], [2, 2], [1, 1]),
            ([5, 5], [1, 1], [1, 1]),
            ([5, 5], [2, 2], [1, 1]),
            ([3, 3], [2, 1], [1, 1]),
            ([1, 7], [1, 1], [1, 1]),
            ([7, 7], [1, 1], [1, 1]),
            ([4, 2], [3, 3], [1, 1]),
            ([3, 3], [1, 1], [2, 2]),
        ] {
            let pad = [kernel[0] / 2, usize::div_ceil(kernel[0], 2)];
            for size in [[7, 9], [5, 12], [8, 8], [1, 1], [6, 26]] {
                let case =
                    Case { batch: 2, inputs: channels, outputs: channels, size, kernel, stride, pad, dilation, ..CASE };
                check_depthwise(case, &[]);
            }
        }
    }
}

/// More channels than one pass down the lines takes, and epilogues on each of them.
#[test]
fn depthwise_filters_of_many_channels() {
    let ops = &[EpilogueOp::Strip(Strip::Relu), EpilogueOp::Strip(Strip::Sigmoid)];
    for (channels, kernel) in [(170, [3, 3]), (101, [7, 7])] {
        let (size, pad) = ([5, 21], [kernel[0] / 2, kernel[1] / 2]);
        check_depthwise(Case { inputs: channels, outputs: channels, size, kernel, pad, ..CASE }, ops);
    }
}

#[test]
fn transposed_filters() {
    for (kernel, stride, pad, dilation) in [
        ([2, 2], [2, 2], [0, 0], [1, 1]),
        ([3, 3], [2, 2], [1, 0], [1, 1]),
        ([4, 4], [2, 2], [1, 1], [1, 1]),
        ([3, 3], [1, 1], [0, 0], [1, 1]),
        ([1, 1], [3, 2], [0, 0], [1, 1]),
        ([3, 2], [2, 3], [0, 1], [2, 2]),
        ([5, 5], [3, 3], [2, 2], [2, 1]),
    ] {
        check_transpose(Case { kernel, stride, pad, dilation, ..CASE }, &[]);
        check_transpose(
            Case { batch: 2, inputs: 8, outputs: 34, groups: 2, kernel, stride, pad, dilation, ..CASE },
            &[],
        );
    }
}

#[test]
fn epilogues() {
    let mut random = Random::new(4);
    let (scale, bias, residual) = (random.values(64), random.values(64), random.values(20_000));
    let ops = [
        EpilogueOp::MulColumn(scale.as_ptr()),
        EpilogueOp::AddColumn(bias.as_ptr()),
        EpilogueOp::AddTensor(residual.as_ptr()),
        EpilogueOp::Strip(Strip::Relu),
        EpilogueOp::Strip(Strip::Sigmoid),
        EpilogueOp::AddColumn(scale.as_ptr()),
    ];
    for ops in [&ops[..4], &ops[..]] {
        check_conv(Case { batch: 2, ..CASE }, ops);
        check_conv(Case { inputs: 4, groups: 2, ..CASE }, ops);
        check_depthwise(Case { inputs: 18, ..CASE }, ops);
        check_depthwise(Case { inputs: 18, dilation: [2, 2], ..CASE }, ops);
        check_transpose(Case { kernel: [2, 2], stride: [2, 2], ..CASE }, ops);
    }
}

#[test]
fn reads_and_writes_slices_of_channels() {
    let mut random = Random::new(5);
    let (from, to) = (Tensor::random(&[1, 7, 9, 20], &mut random), Tensor::unset(&[1, 7, 9, 30]));
    for (kernel, inputs) in [(1, 7), (3, 7), (3, 18)] {
        let shape = ConvWeightShape { outputs: 18, inputs, kernel_h: kernel, kernel_w: kernel, groups: 1 };
        let len = conv_weights_len(shape);
        let (w, _) = weights([18, inputs, kernel, kernel], shape.filter_len(), len, &mut random, |filter, packed| {
            pack_conv_weights(shape, filter, packed);
        });
        let slice = |tensor: &Tensor, channels: usize| {
            let mut tensor = tensor.clone();
            tensor.shape[3] = channels as i64;
            tensor
        };
        let pad = (kernel / 2) as i64;
        let attrs = [kernel as i64, kernel as i64, 1, 1, pad, pad, 1, 1, 1];
        check("f32_conv_nhwc", &[slice(&from, inputs), w, slice(&to, 18)], &attrs, &[], &kernel);
    }
}

#[test]
fn impossible_attributes_are_refused() {
    let mut operands = [Tensor::unset(&[1, 2, 2, 1]), Tensor::unset(&[1, 1, 1, 1]), Tensor::unset(&[1, 2, 2, 1])];
    for attrs in [[1, 1, 0, 1, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 1, 1, 0], [-1, 1, 1, 1, 0, 0, 1, 1, 1]] {
        for name in ["f32_conv_nhwc", "f32_depthwise_conv_nhwc", "f32_conv_transpose_nhwc"] {
            let kernel = find(name, 1, Isa::detect()).expect("exists");
            run(kernel, &mut operands, &attrs, &[], None, &Serial).expect_err("refused");
        }
    }
}
