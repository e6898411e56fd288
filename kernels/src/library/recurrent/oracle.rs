//! Recurrent layers against ONNX's reference implementation and a scalar one, in f64.

use super::super::codes::{Activation, Direction};
use super::super::gru::F32_GRU;
use super::super::lstm::F32_LSTM;
use super::super::rnn::F32_RNN;
use super::super::testing::{Buffer, Random, assert_close, run};
use crate::abi::Kernel;
use crate::pack::{pack_recurrent_weights, recurrent_weights_len, recurrent_weights_shape};
use ic_types::DType;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Lstm,
    Gru { linear_before_reset: bool },
    Rnn,
}

/// A layer with its operands.
#[derive(Clone)]
struct Case {
    kind: Kind,
    /// Steps, batch, input, hidden.
    extents: [usize; 4],
    direction: Direction,
    batch_first: bool,
    clip: f32,
    x: Vec<f32>,
    w: Vec<f32>,
    r: Vec<f32>,
    b: Option<Vec<f32>>,
    lens: Option<Vec<i32>>,
    initial: Option<[Vec<f32>; 2]>,
    p: Option<Vec<f32>>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Case {
    fn new(
        kind: Kind,
        extents: [usize; 4],
        direction: Direction,
        mut fill: impl FnMut(usize, usize) -> Vec<f32>,
    ) -> Case {
        let [steps, batch, input, hidden] = extents;
        let mut case = Case {
            kind,
            extents,
            direction,
            batch_first: false,
            clip: f32::INFINITY,
            x: fill(steps * batch * input, 1),
            w: vec![],
            r: vec![],
            b: None,
            lens: None,
            initial: None,
            p: None,
        };
        let (d, g) = (case.directions(), case.gates());
        case.w = fill(d * g * hidden * input, 2);
        case.r = fill(d * g * hidden * hidden, 3);
        case.b = Some(fill(d * 2 * g * hidden, 4));
        case.initial = Some([fill(d * batch * hidden, 5), fill(d * batch * hidden, 6)]);
        case.p = Some(fill(d * 3 * hidden, 7));
        case
    }

    fn directions(&self) -> usize {
        if self.direction == Direction::Bidirectional { 2 } else { 1 }
    }

    fn gates(&self) -> usize {
        match self.kind {
            Kind::Lstm => 4,
            Kind::Gru { .. } => 3,
            Kind::Rnn => 1,
        }
    }

    fn kernel(&self) -> &'static Kernel {
        match self.kind {
            Kind::Lstm => const { &F32_LSTM },
            Kind::Gru { .. } => const { &F32_GRU },
            Kind::Rnn => const { &F32_RNN },
        }
    }

    fn attrs(&self) -> Vec<i64> {
        let [s, t] = [Activation::Sigmoid, Activation::Tanh].map(Activation::code);
        let one_direction = match self.kind {
            Kind::Lstm => vec![s, 0, 0, t, 0, 0, t, 0, 0],
            Kind::Gru { .. } => vec![s, 0, 0, t, 0, 0],
            Kind::Rnn => vec![t, 0, 0],
        };
        let flag = match self.kind {
            Kind::Lstm => vec![0],
            Kind::Gru { linear_before_reset } => vec![i64::from(linear_before_reset)],
            Kind::Rnn => vec![],
        };
        let head = vec![self.direction.code(), i64::from(self.batch_first)];
        let activations = one_direction.repeat(self.directions());
        [head, flag, vec![i64::from(self.clip.to_bits())], activations].concat()
    }

    fn y_shape(&self) -> [usize; 4] {
        let ([steps, batch, _, hidden], d) = (self.extents, self.directions());
        if self.batch_first { [batch, steps, d, hidden] } else { [steps, d, batch, hidden] }
    }

    fn state_shape(&self) -> [usize; 3] {
        let ([_, batch, _, hidden], d) = (self.extents, self.directions());
        if self.batch_first { [batch, d, hidden] } else { [d, batch, hidden] }
    }

    /// Runs the kernel: y, y_h and y_c if there is one.
    fn run(&self, packed: bool) -> Vec<Vec<f32>> {
        let ([steps, batch, input, hidden], d, g) = (self.extents, self.directions(), self.gates());
        let weights = |values: &[f32], k: usize| {
            if !packed {
                return Buffer::f32(&[d, g * hidden, k], values);
            }
            let mut to = vec![f32::NAN; recurrent_weights_len(d, g, hidden, k)];
            let row = |i: usize, row: &mut [f32]| row.copy_from_slice(&values[i * k..(i + 1) * k]);
            pack_recurrent_weights(d, g, hidden, k, row, &mut to);
            Buffer::f32(&recurrent_weights_shape(d, g, hidden, k), &to)
        };
        let optional =
            |shape: &[usize], values: Option<&Vec<f32>>| values.map_or(Buffer::absent(), |v| Buffer::f32(shape, v));
        let x_shape = if self.batch_first { [batch, steps, input] } else { [steps, batch, input] };
        let lens = self.lens.as_ref().map_or(Buffer::absent(), |lens| Buffer::new(DType::I32, &[batch], lens));
        let state = self.state_shape();
        let mut inputs = vec![
            Buffer::f32(&x_shape, &self.x),
            weights(&self.w, input),
            weights(&self.r, hidden),
            optional(&[d, 2 * g * hidden], self.b.as_ref()),
            lens,
            optional(&state, self.initial.as_ref().map(|initial| &initial[0])),
        ];
        let state_output = || Buffer::out::<f32>(DType::F32, &state);
        let mut outputs = vec![Buffer::out::<f32>(DType::F32, &self.y_shape()), state_output()];
        if self.kind == Kind::Lstm {
            inputs.push(optional(&state, self.initial.as_ref().map(|initial| &initial[1])));
            inputs.push(optional(&[d, 3 * hidden], self.p.as_ref()));
            outputs.push(state_output());
        }
        run(self.kernel(), &inputs, &self.attrs(), outputs).unwrap().iter().map(Buffer::values).collect()
    }

    /// The same, by scalar code.
    fn oracle(&self) -> Vec<Vec<f32>> {
        let ([steps, batch, input, hidden], d, g) = (self.extents, self.directions(), self.gates());
        let mut y = vec![0.0; steps * d * batch * hidden];
        let mut states = [vec![0.0; d * batch * hidden], vec![0.0; d * batch * hidden]];
        for direction in 0..d {
            for b in 0..batch {
                let state_at = if self.batch_first { b * d + direction } else { direction * batch + b } * hidden;
                let initial = |which: usize| -> Vec<f64> {
                    let values = self.initial.as_ref().map(|initial| &initial[which]);
                    (0..hidden).map(|i| values.map_or(0.0, |v| f64::from(v[state_at + i]))).collect()
                };
                let (mut h, mut c) = (initial(0), initial(1));
                let len = self.lens.as_ref().map_or(steps, |lens| lens[b] as usize);
                for step in 0..len {
                    let reverse = direction == 1 || self.direction == Direction::Reverse;
                    let t = if reverse { len - 1 - step } else { step };
                    let row = if self.batch_first { b * steps + t } else { t * batch + b };
                    (h, c) = self.step(direction, &self.x[row * input..(row + 1) * input], &h, &c);
                    let at = if self.batch_first {
                        (b * steps + t) * d + direction
                    } else {
                        (t * d + direction) * batch + b
                    };
                    for i in 0..hidden {
                        y[at * hidden + i] = h[i] as f32;
                    }
                }
                for i in 0..hidden {
                    states[0][state_at + i] = h[i] as f32;
                    states[1][state_at + i] = c[i] as f32;
                }
            }
        }
        let [h, c] = states;
        if g == 4 { vec![y, h, c] } else { vec![y, h] }
    }

    fn step(&self, direction: usize, x: &[f32], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let ([_, _, input, hidden], g) = (self.extents, self.gates());
        let clip = |v: f64| v.clamp(-f64::from(self.clip), f64::from(self.clip));
        let bias = |second: usize, row: usize| {
            self.b.as_ref().map_or(0.0, |b| f64::from(b[(direction * 2 + second) * g * hidden + row]))
        };
        let wx = |row: usize| -> f64 {
            let w = &self.w[(direction * g * hidden + row) * input..][..input];
            w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>() + bias(0, row)
        };
        let rh = |row: usize, h: &[f64]| -> f64 {
            let r = &self.r[(direction * g * hidden + row) * hidden..][..hidden];
            r.iter().zip(h).map(|(&r, &h)| f64::from(r) * h).sum::<f64>() + bias(1, row)
        };
        let gate = |gate: usize, i: usize| wx(gate * hidden + i) + rh(gate * hidden + i, h);
        let peep =
            |gate: usize, i: usize| self.p.as_ref().map_or(0.0, |p| f64::from(p[(direction * 3 + gate) * hidden + i]));
        match self.kind {
            Kind::Rnn => ((0..hidden).map(|i| clip(gate(0, i)).tanh()).collect(), c.to_vec()),
            Kind::Gru { linear_before_reset } => {
                let r: Vec<f64> = (0..hidden).map(|i| sigmoid(clip(gate(1, i)))).collect();
                let reset: Vec<f64> = (0..hidden).map(|i| r[i] * h[i]).collect();
                let next = |i: usize| {
                    let row = 2 * hidden + i;
                    let past = if linear_before_reset { r[i] * rh(row, h) } else { rh(row, &reset) };
                    let (z, n) = (sigmoid(clip(gate(0, i))), clip(wx(row) + past).tanh());
                    (1.0 - z) * n + z * h[i]
                };
                ((0..hidden).map(next).collect(), c.to_vec())
            }
            Kind::Lstm => {
                let cell: Vec<f64> = (0..hidden)
                    .map(|i| {
                        let input = sigmoid(clip(gate(0, i) + peep(0, i) * c[i]));
                        let forget = sigmoid(clip(gate(2, i) + peep(2, i) * c[i]));
                        forget * c[i] + input * clip(gate(3, i)).tanh()
                    })
                    .collect();
                let next = |i: usize| sigmoid(clip(gate(1, i) + peep(1, i) * cell[i])) * cell[i].tanh();
                ((0..hidden).map(next).collect(), cell)
            }
        }
    }
}

/// The values that the reference was run on.
fn pattern(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed * 3) % 11) as f32 / 8.0 - 0.625).collect()
}

#[test]
fn agrees_with_the_reference() {
    let check = |kind, batch_first, expected: [&[f32]; 2]| {
        let mut case = Case::new(kind, [3, 2, 3, 2], Direction::Bidirectional, pattern);
        case.batch_first = batch_first;
        let found = case.run(false);
        assert_close(&found[0], expected[0], 1e-6);
        assert_close(found.last().unwrap(), expected[1], 1e-6);
    };
    check(
        Kind::Lstm,
        false,
        [
            &[
                0.142381,
                0.018865876,
                0.21120259,
                0.092363685,
                -0.37666658,
                0.20951211,
                -0.3620359,
                0.165471,
                0.13088337,
                0.05221962,
                0.19890279,
                0.075256765,
                -0.33339223,
                0.19849335,
                -0.32062095,
                0.12472464,
                0.05179101,
                0.13682833,
                0.11673813,
                0.13597365,
                -0.32295734,
                0.26365834,
                -0.27706033,
                0.047057044,
            ],
            &[0.13589883, 0.54140496, 0.3206593, 0.5580585, -0.68501246, 0.81395435, -0.6690707, 0.6291218],
        ],
    );
    check(
        Kind::Lstm,
        true,
        [
            &[
                0.142381,
                0.018865876,
                -0.08545909,
                0.206938,
                0.12090864,
                0.06428557,
                0.0042868606,
                0.1865761,
                0.13187394,
                0.07138856,
                0.12536724,
                0.13564865,
                -0.07914418,
                0.14150771,
                -0.4354431,
                0.14338648,
                -0.07717021,
                0.14893363,
                -0.4582539,
                0.11435131,
                -0.07199324,
                0.15427719,
                -0.27706033,
                0.047057044,
            ],
            &[0.37022623, 0.21276248, -0.15250668, 0.6991253, -0.17393787, 0.67364335, -0.8900231, 0.5956741],
        ],
    );
    check(
        Kind::Gru { linear_before_reset: false },
        false,
        [
            &[
                0.22049506,
                -0.5753957,
                0.41806507,
                -0.34752482,
                -0.4458806,
                0.6045926,
                -0.72265613,
                0.51803917,
                0.3945858,
                -0.5372033,
                0.504474,
                -0.3960129,
                -0.24720332,
                0.5564222,
                -0.67317116,
                0.510342,
                0.27744937,
                -0.6861799,
                0.34687477,
                -0.6078217,
                0.02324754,
                0.40149236,
                -0.5831368,
                0.55245817,
            ],
            &[0.27744937, -0.6861799, 0.34687477, -0.6078217, -0.4458806, 0.6045926, -0.72265613, 0.51803917],
        ],
    );
    check(
        Kind::Gru { linear_before_reset: true },
        false,
        [
            &[
                0.22710933,
                -0.49676186,
                0.42063665,
                -0.27320427,
                -0.3251866,
                0.5200053,
                -0.64781064,
                0.40686953,
                0.40397844,
                -0.4119091,
                0.50902927,
                -0.2704911,
                -0.15271176,
                0.48921797,
                -0.62076235,
                0.41042817,
                0.28818253,
                -0.5655017,
                0.35255396,
                -0.47891906,
                0.09522535,
                0.3850696,
                -0.54809046,
                0.5125286,
            ],
            &[0.28818253, -0.5655017, 0.35255396, -0.47891906, -0.3251866, 0.5200053, -0.64781064, 0.40686953],
        ],
    );
    check(
        Kind::Rnn,
        false,
        [
            &[
                -0.7117023,
                -0.59637356,
                -0.6257346,
                -0.6161344,
                0.25097072,
                0.38670906,
                0.28164756,
                0.36297458,
                -0.84729254,
                -0.33829325,
                -0.8439494,
                -0.36871326,
                0.60115063,
                0.3444523,
                0.75673115,
                0.36050063,
                -0.83514196,
                -0.1550773,
                -0.84387237,
                -0.15259165,
                0.43718877,
                -0.124353,
                0.39850885,
                -0.48633605,
            ],
            &[-0.83514196, -0.1550773, -0.84387237, -0.15259165, 0.25097072, 0.38670906, 0.28164756, 0.36297458],
        ],
    );
}

#[test]
fn agrees_with_the_oracle() {
    let mut random = Random(1);
    let kinds =
        [Kind::Lstm, Kind::Gru { linear_before_reset: false }, Kind::Gru { linear_before_reset: true }, Kind::Rnn];
    for extents in [[1, 1, 1, 1], [5, 3, 7, 17], [4, 5, 16, 32], [2, 1, 3, 5], [0, 2, 3, 4], [3, 0, 2, 2], [3, 2, 0, 3]]
    {
        for kind in kinds {
            for &direction in Direction::ALL {
                let mut case = Case::new(kind, extents, direction, |len, _| random.f32s(len));
                case.batch_first = random.below(2) == 1;
                if random.below(2) == 1 {
                    case.lens = Some((0..extents[1]).map(|_| random.below(extents[0] + 1) as i32).collect());
                }
                if random.below(3) == 0 {
                    (case.b, case.initial, case.p) = (None, None, None);
                }
                if random.below(3) == 0 {
                    case.clip = 0.25;
                }
                let found = case.run(false);
                assert_eq!(case.run(true), found, "packed weights");
                for (found, expected) in found.iter().zip(case.oracle()) {
                    assert_close(found, &expected, 1e-5);
                }
            }
        }
    }
}

#[test]
fn weights_that_no_cache_holds() {
    let mut random = Random(2);
    for kind in [Kind::Lstm, Kind::Gru { linear_before_reset: false }] {
        let case = Case::new(kind, [3, 2, 2, 750], Direction::Bidirectional, |len, _| {
            random.f32s(len).into_iter().map(|x| x / 8.0).collect()
        });
        for (found, expected) in case.run(true).iter().zip(case.oracle()) {
            assert_close(found, &expected, 1e-5);
        }
    }
}

#[test]
fn refuses_lengths_and_weights_that_do_not_fit() {
    let mut case = Case::new(Kind::Rnn, [2, 1, 3, 2], Direction::Forward, pattern);
    case.lens = Some(vec![3]);
    let inputs = |lens: i32, k: usize| {
        vec![
            Buffer::f32(&[2, 1, 3], &case.x),
            Buffer::f32(&[1, 2, k], &vec![0.0; 2 * k]),
            Buffer::f32(&[1, 2, 2], &case.r),
            Buffer::absent(),
            Buffer::new(DType::I32, &[1], &[lens]),
            Buffer::absent(),
        ]
    };
    let outputs = || vec![Buffer::absent(), Buffer::out::<f32>(DType::F32, &[1, 1, 2])];
    let refusal = |inputs: Vec<Buffer>| run(case.kernel(), &inputs, &case.attrs(), outputs()).err().unwrap().0;
    assert_eq!(refusal(inputs(3, 3)), "sequence length 3 is out of range for 2 steps");
    assert_eq!(refusal(inputs(1, 4)), "expected weights of shape [1, 2, 3], found [1, 2, 4]");
    assert!(run(case.kernel(), &inputs(1, 3), &case.attrs(), outputs()).is_ok());
}
