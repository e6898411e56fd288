//! `find`: the places of elements among keys.

use super::args::{Args, kernels};
use super::element::by_width;
use crate::abi::KernelError;
use ic_types::DType;
use std::collections::HashMap;

kernels! {
    /// For each element of `x`, the first place of an equal one in `keys`, or their number. NaNs equal each other, and zeros
    /// of either sign do.
    FIND = "find" ["x", "keys"] -> ["y"] {}, find;
}

/// Bits that equal numbers of a type have alike.
fn canonical(bits: u64, dtype: DType) -> u64 {
    match dtype {
        DType::F32 => match f32::from_bits(bits as u32) {
            x if x.is_nan() => f32::NAN.to_bits().into(),
            x => (x + 0.0).to_bits().into(),
        },
        DType::F64 => match f64::from_bits(bits) {
            x if x.is_nan() => f64::NAN.to_bits(),
            x => (x + 0.0).to_bits(),
        },
        _ => bits,
    }
}

fn find(args: &mut Args) -> Result<(), KernelError> {
    use super::cast::Bits;
    let dtype = args.dtype(0)?;
    by_width!(dtype, T => {
        let (x, keys, y) = (args.input::<T>(0)?, args.input::<T>(1)?, args.output::<i64>()?);
        let mut places = HashMap::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            places.entry(canonical(key.to_bits(), dtype)).or_insert(place as i64);
        }
        let place = |x: &T| places.get(&canonical(x.to_bits(), dtype)).copied().unwrap_or(keys.len() as i64);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = place(x));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run};

    #[test]
    fn equal_numbers_are_found() {
        let x = Buffer::f32(&[5], &[0.0, f32::NAN, 2.0, 7.0, 1.5]);
        let keys = Buffer::f32(&[4], &[-0.0, 2.0, f32::NAN, 2.0]);
        let y = run(&FIND, &[x, keys], &[], vec![Buffer::out::<i64>(DType::I64, &[5])]).unwrap();
        assert_eq!(y[0].values::<i64>(), [0, 2, 1, 4, 4]);
    }
}
