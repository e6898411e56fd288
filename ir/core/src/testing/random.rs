//! A small generator of random numbers, shapes and tensors.

use crate::eval::{from_ints, from_reals};
use ic_types::{DType, Dim, Tensor};

/// Types that every op that only moves elements takes.
pub(super) const ANY: &[DType] = &[
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I64,
    DType::I32,
    DType::U8,
    DType::I4,
    DType::F8E4M3FN,
    DType::Bool,
    DType::String,
];

/// Float types in which ops compute.
pub(super) const FLOATS: &[DType] = &[DType::F32, DType::F32, DType::F64, DType::F16, DType::BF16];

/// Number types in which ops compute.
pub(super) const NUMBERS: &[DType] =
    &[DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8];

/// A generator of random numbers: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// A number from `low` to `high`, ends included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True or false.
    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of `list`.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// An extent; 0 and 1 are likely.
    pub fn extent(&mut self) -> usize {
        self.pick(&[0, 1, 1, 2, 3, 4, 5])
    }

    /// `rank` extents.
    pub fn shape(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| self.extent()).collect()
    }

    /// `rank` extents of at least 1.
    pub fn full_shape(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| self.between(1, 5)).collect()
    }

    /// A shape of a few axes.
    pub fn any_shape(&mut self) -> Vec<usize> {
        let rank = self.below(5);
        self.shape(rank)
    }

    /// A shape with at least one axis, and one of the axes.
    pub fn shape_and_axis(&mut self) -> (Vec<usize>, usize) {
        let rank = self.between(1, 4);
        (self.shape(rank), self.below(rank))
    }

    /// The numbers below `n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut list: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            let j = self.below(i + 1);
            list.swap(i, j);
        }
        list
    }

    /// Some of the numbers below `n` in random order.
    pub fn subset(&mut self, n: usize) -> Vec<usize> {
        let mut list = self.permutation(n);
        list.truncate(self.below(n + 1));
        list
    }

    /// `n` numbers from `low` to `high`.
    pub fn list(&mut self, n: usize, low: usize, high: usize) -> Vec<usize> {
        (0..n).map(|_| self.between(low, high)).collect()
    }

    /// A tensor with small elements; strings are decimal numbers.
    ///
    /// # Panics
    /// If the type is complex.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let len = shape.iter().product();
        let shape = shape.to_vec();
        if dtype == DType::String {
            return Tensor::from_elements(shape, (0..len).map(|_| self.below(100).to_string()).collect());
        }
        let tensor = if dtype.is_float() {
            let element = |r: &mut Random| r.below(65) as f64 / 16.0 - 2.0;
            from_reals(dtype, shape, (0..len).map(|_| element(self)).collect())
        } else {
            let low = if dtype.is_signed_int() { -9 } else { 0 };
            from_ints(dtype, shape, (0..len).map(|_| self.below(19) as i128 + low).collect())
        };
        tensor.expect("the type is real")
    }

    /// An i64 or i32 tensor of indices into an axis, from the front or the end.
    pub fn indices(&mut self, shape: &[usize], extent: usize) -> Tensor {
        let len: usize = shape.iter().product();
        let dtype = self.pick(&[DType::I64, DType::I32]);
        let index = |r: &mut Random| r.below(2 * extent) as i128 - extent as i128;
        let indices = (0..len).map(|_| index(self)).collect();
        from_ints(dtype, shape.to_vec(), indices).expect("the type is an integer type")
    }

    /// A shape that broadcasts to `shape`.
    pub fn broadcastable(&mut self, shape: &[usize]) -> Vec<usize> {
        let skip = self.below(shape.len() + 1);
        let rest: Vec<usize> = shape[if self.flag() { skip } else { 0 }..].to_vec();
        rest.into_iter().map(|extent| if self.below(3) == 0 { 1 } else { extent }).collect()
    }
}

/// Extents as dims.
pub(super) fn dims(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|&d| Dim::constant(d as i64)).collect()
}
