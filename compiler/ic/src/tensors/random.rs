//! Seeded random tensors that are the same on every host.

use ic_types::{DType, Data, Tensor, f32_to_bf16, f32_to_f16};

/// A sequence of pseudo-random numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`.
    fn float(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * 2f64.powi(-52) - 1.0
    }
}

/// A tensor of floats in `[-1, 1)`, integers 0 and 1, or coin flips. `None` for element types that have no random form.
///
/// Integers stay this small because they are indices and masks more often than quantities.
pub fn random_tensor(dtype: DType, shape: Vec<usize>, seed: u64) -> Option<Tensor> {
    let len: usize = shape.iter().product();
    let mut random = Random::new(seed);
    let mut floats = || (0..len).map(|_| random.float() as f32).collect::<Vec<_>>();
    macro_rules! ints {
        ($variant:ident) => {
            Data::$variant(floats().into_iter().map(|x| (x > 0.0).into()).collect())
        };
    }
    let data = match dtype {
        DType::F32 => Data::F32(floats()),
        DType::F64 => Data::F64(floats().into_iter().map(f64::from).collect()),
        DType::F16 => Data::F16(floats().into_iter().map(f32_to_f16).collect()),
        DType::BF16 => Data::BF16(floats().into_iter().map(f32_to_bf16).collect()),
        DType::Bool => ints!(Bool),
        DType::I64 => ints!(I64),
        DType::I32 => ints!(I32),
        DType::I16 => ints!(I16),
        DType::I8 => ints!(I8),
        DType::U64 => ints!(U64),
        DType::U32 => ints!(U32),
        DType::U16 => ints!(U16),
        DType::U8 => ints!(U8),
        _ => return None,
    };
    Some(Tensor::new(shape, data))
}
