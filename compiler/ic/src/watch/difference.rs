//! How far the elements of two buffers are apart.

use ic_types::{Data, bf16_to_f32, f16_to_f32};

/// The largest differences between two buffers.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Difference {
    /// Of two elements.
    pub(super) absolute: f64,
    /// The same over the largest magnitude of what is expected.
    pub(super) relative: f64,
    /// In numbers that the element type can tell apart; 0 for what are no floats.
    pub(super) ulps: u64,
}

/// Compares elements of one type. Equal values, infinities and NaNs at the same place are no difference.
pub(super) fn difference(found: &Data, expected: &Data) -> Difference {
    macro_rules! floats {
        ($a:expr, $b:expr, $real:expr, $place:expr) => {{
            let (real, place) = ($real, $place);
            of_pairs($a.iter().zip($b).map(|(a, b)| {
                let (x, y): (f64, f64) = (real(a), real(b));
                let ulps = if x.is_nan() != y.is_nan() { u64::MAX } else { i64::abs_diff(place(a), place(b)) };
                (x, y, ulps)
            }))
        }};
    }
    macro_rules! integers {
        ($a:expr, $b:expr) => {
            of_pairs($a.iter().zip($b).map(|(&a, &b)| (a as f64, b as f64, 0)))
        };
    }
    match (found, expected) {
        (Data::F64(a), Data::F64(b)) => floats!(a, b, |x: &f64| *x, |x: &f64| place(x.to_bits(), 63)),
        (Data::F32(a), Data::F32(b)) => {
            floats!(a, b, |x: &f32| f64::from(*x), |x: &f32| place(x.to_bits().into(), 31))
        }
        (Data::F16(a), Data::F16(b)) => {
            floats!(a, b, |x: &u16| f64::from(f16_to_f32(*x)), |x: &u16| place((*x).into(), 15))
        }
        (Data::BF16(a), Data::BF16(b)) => {
            floats!(a, b, |x: &u16| f64::from(bf16_to_f32(*x)), |x: &u16| place((*x).into(), 15))
        }
        (Data::I64(a), Data::I64(b)) => integers!(a, b),
        (Data::I32(a), Data::I32(b)) => integers!(a, b),
        (Data::I16(a), Data::I16(b)) => integers!(a, b),
        (Data::I8(a), Data::I8(b)) => integers!(a, b),
        (Data::U64(a), Data::U64(b)) => integers!(a, b),
        (Data::U32(a), Data::U32(b)) => integers!(a, b),
        (Data::U16(a), Data::U16(b)) => integers!(a, b),
        (Data::U8(a), Data::U8(b)) => integers!(a, b),
        (Data::Bool(a), Data::Bool(b)) => {
            of_pairs(a.iter().zip(b).map(|(&a, &b)| (f64::from(u8::from(a)), f64::from(u8::from(b)), 0)))
        }
        _ if found.to_le_bytes() == expected.to_le_bytes() => Difference::default(),
        _ => Difference { absolute: f64::NAN, relative: f64::NAN, ulps: u64::MAX },
    }
}

/// The number of a float among those of its type, from its bits and the place of its sign.
fn place(bits: u64, sign: u32) -> i64 {
    let magnitude = (bits & ((1 << sign) - 1)) as i64;
    if bits >> sign == 0 { magnitude } else { -magnitude }
}

fn of_pairs(pairs: impl Iterator<Item = (f64, f64, u64)>) -> Difference {
    let (mut result, mut scale) = (Difference::default(), 0f64);
    for (found, expected, ulps) in pairs {
        if expected.is_finite() {
            scale = scale.max(expected.abs());
        }
        if found == expected || (found.is_nan() && expected.is_nan()) {
            continue;
        }
        result.absolute = larger(result.absolute, (found - expected).abs());
        result.ulps = result.ulps.max(ulps);
    }
    if result.absolute != 0.0 {
        result.relative = result.absolute / scale.max(f64::MIN_POSITIVE);
    }
    result
}

/// The larger of two errors; NaN is larger than every number.
pub(super) fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_of_the_worst_element() {
        let expected = Data::F32(vec![1.0, -4.0, f32::NAN, f32::INFINITY, 0.0]);
        let found = Data::F32(vec![1.0f32.next_up(), -4.0, f32::NAN, f32::INFINITY, -0.0]);
        let Difference { absolute, relative, ulps } = difference(&found, &expected);
        assert_eq!((absolute, relative, ulps), (f64::from(f32::EPSILON), f64::from(f32::EPSILON) / 4.0, 1));
        assert_eq!(difference(&expected, &expected), Difference::default());
    }

    #[test]
    fn ulps_count_across_zero() {
        let smallest = f32::from_bits(1);
        assert_eq!(difference(&Data::F32(vec![-smallest]), &Data::F32(vec![smallest])).ulps, 2);
        assert_eq!(difference(&Data::F16(vec![0x3c01]), &Data::F16(vec![0x3c00])).ulps, 1);
    }

    #[test]
    fn a_number_in_place_of_nan_is_a_difference() {
        let found = difference(&Data::F32(vec![0.0]), &Data::F32(vec![f32::NAN]));
        assert!(found.absolute.is_nan() && found.ulps == u64::MAX);
        assert!(
            difference(&Data::I32(vec![3]), &Data::I32(vec![5]))
                == Difference { absolute: 2.0, relative: 0.4, ulps: 0 }
        );
    }
}
