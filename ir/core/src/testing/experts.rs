//! Random valid instances of the ops of gated layers and of mixtures of experts.

use super::Sample;
use super::random::{FLOATS, Random};
use crate::ops::{ExpertActivation, ExpertMatmul, Experts, GATE_RUN, GateFn, GatedMatmul};

pub(super) fn expert_matmul(r: &mut Random) -> Sample {
    let dtype = r.pick(FLOATS);
    let [rows, k, n] = [0; 3].map(|_| r.extent());
    let e = r.between(1, 4);
    let (x, w, index) = (r.tensor(dtype, &[rows, k]), r.tensor(dtype, &[e, k, n]), r.indices(&[rows], e));
    Sample::new(ExpertMatmul {}, vec![x, w, index])
}

pub(super) fn experts(r: &mut Random) -> Sample {
    let (dtype, gated) = (r.pick(FLOATS), r.flag());
    let [t, k, f, n] = [0; 4].map(|_| r.extent());
    let (c, e) = (r.between(1, 3), r.between(1, 4));
    let activation =
        r.pick(&[ExpertActivation::Relu, ExpertActivation::Silu, ExpertActivation::Gelu, ExpertActivation::GeluTanh]);
    let wide = if gated { 2 * f } else { f };
    let operands = vec![
        r.tensor(dtype, &[t, c, k]),
        r.indices(&[t, c], e),
        r.tensor(dtype, &[t, c]),
        r.tensor(dtype, &[e, k, wide]),
        r.tensor(dtype, &[e, f, n]),
    ];
    Sample::new(Experts { activation, gated }, operands)
}

pub(super) fn gated_matmul(r: &mut Random) -> Sample {
    let (dtype, is_biased) = (r.pick(FLOATS), r.flag());
    let ([rows, k], columns) = ([0; 2].map(|_| r.extent()), 2 * GATE_RUN * r.between(0, 2));
    let function = r.pick(&[GateFn::Sigmoid, GateFn::Silu, GateFn::Gelu, GateFn::GeluTanh, GateFn::Relu]);
    let mut operands = vec![r.tensor(dtype, &[rows, k]), r.tensor(dtype, &[k, columns])];
    if is_biased {
        operands.push(r.tensor(dtype, &[columns]));
    }
    Sample::new(GatedMatmul { function }, operands)
}
