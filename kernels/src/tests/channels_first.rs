//! Channels-first convolutions against sums written plainly.

use super::harness::{Random, Tensor, Threads, run};
use crate::abi::{Parallel, Serial};
use crate::isa::Isa;
use crate::table::find;

/// A geometry of 1 to 3 spatial axes.
#[derive(Debug)]
struct Case {
    transposed: bool,
    images: usize,
    groups: usize,
    inputs: usize,
    outputs: usize,
    from: Vec<usize>,
    to: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    pads: Vec<usize>,
}

impl Case {
    fn attrs(&self) -> Vec<i64> {
        let lists = [&[self.groups][..], &self.strides, &self.dilations, &self.pads].concat();
        lists.into_iter().map(|value| value as i64).collect()
    }

    /// The coordinates of element `flat` of a tensor with these extents.
    fn at(mut flat: usize, extents: &[usize]) -> Vec<usize> {
        let mut found = vec![0; extents.len()];
        for axis in (0..extents.len()).rev() {
            (found[axis], flat) = (flat % extents[axis], flat / extents[axis]);
        }
        found
    }

    /// The sum for one element of the result, in f64.
    fn sum(&self, x: &[f32], w: &[f32], image: usize, output: usize, pixel: usize) -> f64 {
        let (taps, area): (usize, usize) = (self.kernel.iter().product(), self.from.iter().product());
        let (group, channel) = (output / self.outputs, output % self.outputs);
        let o = Case::at(pixel, &self.to);
        let mut sum = 0.0;
        for tap in 0..taps {
            let t = Case::at(tap, &self.kernel);
            let place = (0..o.len()).try_fold(0, |flat, a| {
                let (o, t, stride) = (o[a] as i64, (t[a] * self.dilations[a]) as i64, self.strides[a] as i64);
                let pad = self.pads[a] as i64;
                let scaled = if self.transposed { o + pad - t } else { (o * stride + t - pad) * stride };
                let i = if scaled % stride == 0 { scaled / stride } else { -1 };
                (0..self.from[a] as i64).contains(&i).then(|| flat * self.from[a] + i as usize)
            });
            let Some(place) = place else { continue };
            for input in 0..self.inputs {
                let weight = match self.transposed {
                    true => ((group * self.inputs + input) * self.outputs + channel) * taps + tap,
                    false => (output * self.inputs + input) * taps + tap,
                };
                let channels = image * self.groups * self.inputs + group * self.inputs + input;
                sum += f64::from(x[channels * area + place]) * f64::from(w[weight]);
            }
        }
        sum
    }
}

fn check(case: &Case, random: &mut Random) {
    let name = if case.transposed { "f32_conv_transpose" } else { "f32_conv" };
    let (c, m) = (case.groups * case.inputs, case.groups * case.outputs);
    let shape = |n: usize, channels: usize, extents: &[usize]| [&[n, channels], extents].concat();
    let weights =
        if case.transposed { shape(c, case.outputs, &case.kernel) } else { shape(m, case.inputs, &case.kernel) };
    let x = Tensor::random(&shape(case.images, c, &case.from), random);
    let (w, bias) = (Tensor::random(&weights, random), Tensor::random(&[m], random));
    let operands = [x, w, bias, Tensor::unset(&shape(case.images, m, &case.to))];
    let pixels: usize = case.to.iter().product();
    for isa in Isa::supported() {
        for pool in [&Serial as &dyn Parallel, &Threads(3)] {
            let mut operands = operands.to_vec();
            run(find(name, 0, isa).expect("exists"), &mut operands, &case.attrs(), &[], None, pool).expect("runs");
            for (i, &y) in operands[3].data.iter().enumerate() {
                let (image, output) = (i / pixels / m, i / pixels % m);
                let sum = case.sum(&operands[0].data, &operands[1].data, image, output, i % pixels);
                let expected = sum + f64::from(operands[2].data[output]);
                let difference = (f64::from(y) - expected).abs();
                assert!(difference < 1e-4, "{case:?} {}: element {i} is {y}, not {expected}", isa.name());
            }
        }
    }
}

#[test]
fn many_pixels_are_gathered_in_chunks() {
    let list = |n: usize| vec![n; 2];
    let mut random = Random::new(22);
    let case = Case {
        transposed: false,
        images: 1,
        groups: 1,
        inputs: 40,
        outputs: 5,
        from: list(60),
        to: list(58),
        kernel: list(3),
        strides: list(1),
        dilations: list(1),
        pads: list(0),
    };
    check(&case, &mut random);
}

#[test]
fn panels_are_gathered_from_runs_of_pixels() {
    let mut random = Random::new(23);
    for _ in 0..60 {
        let mut pick = |list: &[usize]| list[random.bits() as usize % list.len()];
        let rank = pick(&[1, 2, 2, 2, 3]);
        let kernel: Vec<usize> = (0..rank).map(|_| pick(&[1, 1, 2, 3, 5])).collect();
        let [stride, dilation] = [pick(&[1, 1, 2, 3]), pick(&[1, 1, 2])];
        let pads: Vec<usize> = kernel.iter().map(|&extent| pick(&[0, extent / 2, extent])).collect();
        let from: Vec<usize> =
            (0..rank).map(|axis| (kernel[axis] - 1) * dilation + pick(&[1, 3, 15, 16, 17, 33])).collect();
        let reach = |axis: usize| from[axis] + 2 * pads[axis] - dilation * (kernel[axis] - 1) - 1;
        let to = (0..rank).map(|axis| reach(axis) / stride + 1).collect();
        let (images, groups) = (pick(&[1, 2]), pick(&[1, 1, 3]));
        let (inputs, outputs) = (pick(&[1, 2, 5]), pick(&[1, 3, 16]));
        let (strides, dilations) = (vec![stride; rank], vec![dilation; rank]);
        let case =
            Case { transposed: false, images, groups, inputs, outputs, from, to, kernel, strides, dilations, pads };
        check(&case, &mut random);
    }
}

#[test]
fn planes_are_summed_along_lines() {
    let mut random = Random::new(24);
    for _ in 0..60 {
        let mut pick = |list: &[usize]| list[random.bits() as usize % list.len()];
        let kernel = vec![pick(&[1, 3, 3, 7]), pick(&[1, 2, 3, 5])];
        let strides = vec![pick(&[1, 1, 2, 3]), pick(&[1, 1, 2, 3, 4, 5])];
        let dilations = vec![pick(&[1, 1, 2]), pick(&[1, 1, 2, 3, 5])];
        let pads: Vec<usize> = kernel.iter().map(|&extent| pick(&[0, 0, extent / 2, extent])).collect();
        let sizes = [pick(&[1, 2, 40, 150]), pick(&[1, 15, 16, 63, 64, 65, 130])];
        let from: Vec<usize> = (0..2).map(|axis| (kernel[axis] - 1) * dilations[axis] + sizes[axis]).collect();
        // The end is padded more or less than the beginning.
        let end = pick(&[0, 1, 2]);
        let reach =
            |axis: usize| from[axis] + pads[axis] + pads[axis].max(end) - dilations[axis] * (kernel[axis] - 1) - 1;
        let to = (0..2).map(|axis| reach(axis) / strides[axis] + 1).collect();
        let (images, groups, outputs) = (pick(&[1, 2]), pick(&[1, 3]), pick(&[1, 1, 2, 33]));
        let case =
            Case { transposed: false, images, groups, inputs: 1, outputs, from, to, kernel, strides, dilations, pads };
        check(&case, &mut random);
    }
}
