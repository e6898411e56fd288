//! `random`: numbers drawn from a distribution. ONNX `RandomUniform`, `RandomNormal` and what draws build on it.

use crate::eval::{checked_len, from_reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// f32 or f64 numbers, uniform in [0, 1) or normal with mean 0 and variance 1. They follow from the seed, the place and
    /// the number of the run; evaluation gives those of the first run.
    Random {
        /// The element type.
        dtype: DType = DType::F32,
        /// The shape.
        shape: Vec<Dim>,
        /// Whether the distribution is normal.
        normal: bool = false,
        /// The seed.
        seed: i64
    }
}

impl OpDef for Random {
    const OPERANDS: &'static [OperandSpec] = &[];

    fn infer(&self, _x: &Operands) -> Result<Vec<Type>, OpError> {
        ensure!(matches!(self.dtype, DType::F32 | DType::F64), "numbers are drawn as f32 or f64, not {}", self.dtype);
        Ok(vec![TensorType::new(self.dtype, self.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let shape = x.extents(&self.shape)?;
        let len = checked_len(&shape)?;
        let number = if self.normal { normal } else { uniform };
        let numbers = (0..len as u64).map(|place| number(self.seed as u64, place)).collect();
        Ok(vec![from_reals(self.dtype, shape, numbers)?])
    }

    fn is_foldable(&self) -> bool {
        false
    }
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The random bits of one place in the first run.
fn bits(seed: u64, place: u64) -> u64 {
    let stream = mixed(mixed(seed.wrapping_add(ODD)));
    mixed(stream.wrapping_add(place.wrapping_add(1).wrapping_mul(ODD)))
}

fn uniform(seed: u64, place: u64) -> f64 {
    (bits(seed, place) >> 40) as f64 / (1u64 << 24) as f64
}

/// By the transform of Box and Muller.
fn normal(seed: u64, place: u64) -> f64 {
    let [a, b] = [0, 1].map(|half| bits(seed, 2 * place + half) >> 11);
    let unit = 1.0 / (1u64 << 53) as f64;
    libm::sqrt(-2.0 * libm::log((a + 1) as f64 * unit)) * libm::cos(2.0 * std::f64::consts::PI * b as f64 * unit)
}
