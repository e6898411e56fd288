//! The activations of recurrent layers.

use super::args::error;
use super::codes::Activation as Kind;
use crate::abi::{KernelError, Strip, Table};

/// An activation with its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activation {
    kind: Kind,
    alpha: f32,
    beta: f32,
}

impl Activation {
    /// Activation `index` of the list attribute `activations`: code, alpha and beta bits each.
    pub(crate) fn new(list: &[i64], index: usize) -> Result<Activation, KernelError> {
        let [kind, alpha, beta] = list.get(3 * index..3 * index + 3).unwrap_or_default() else {
            return Err(error(format!("activation #{index} is missing")));
        };
        let number = |bits: i64| f32::from_bits(bits as u32);
        Ok(Activation { kind: Kind::from_code(*kind)?, alpha: number(*alpha), beta: number(*beta) })
    }

    /// Applies it to each element.
    pub(crate) fn apply(&self, table: &Table, x: &mut [f32]) {
        let (alpha, beta) = (self.alpha, self.beta);
        let mut each = |f: &dyn Fn(f32) -> f32| x.iter_mut().for_each(|x| *x = f(*x));
        match self.kind {
            Kind::Sigmoid => strip(table, Strip::Sigmoid, x),
            Kind::Tanh => strip(table, Strip::Tanh, x),
            Kind::Relu => strip(table, Strip::Relu, x),
            Kind::Softplus => strip(table, Strip::Softplus, x),
            Kind::Affine => each(&|x| alpha * x + beta),
            Kind::LeakyRelu => each(&|x| if x >= 0.0 { x } else { alpha * x }),
            Kind::ThresholdedRelu => each(&|x| if x >= alpha { x } else { 0.0 }),
            Kind::ScaledTanh => {
                x.iter_mut().for_each(|x| *x *= beta);
                strip(table, Strip::Tanh, x);
                x.iter_mut().for_each(|x| *x *= alpha);
            }
            Kind::HardSigmoid => each(&|x| (alpha * x + beta).clamp(0.0, 1.0)),
            Kind::Elu => each(&|x| if x >= 0.0 { x } else { alpha * (libm::expf(x) - 1.0) }),
            Kind::Softsign => each(&|x| x / (1.0 + x.abs())),
        }
    }
}

fn strip(table: &Table, strip: Strip, x: &mut [f32]) {
    let at = x.as_mut_ptr();
    // SAFETY: Both arrays are the same slice, which a strip allows.
    unsafe { table.strips[strip as usize](at, at, x.len()) };
}
