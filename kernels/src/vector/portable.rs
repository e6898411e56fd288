//! The portable instance: what every other instance must agree with.
//!
//! Operations are calls: 16 scalar operations in line at every use would make code that is large and no faster.

use super::{LANES, Task, Vector};
use std::array::from_fn;

#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn bits(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        self.zip(other, |a, b| f32::from_bits(f(a.to_bits(), b.to_bits())))
    }
}

impl Vector for Portable {
    type Mask = [bool; LANES];
    const REGISTERS: usize = 8;

    unsafe fn vectorize<T: Task>(task: T) -> T::Output {
        // SAFETY: the caller vouches for the task.
        unsafe { task.run::<Self>() }
    }

    #[inline(never)]
    fn splat(x: f32) -> Self {
        Portable([x; LANES])
    }

    #[inline(never)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        Portable(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(never)]
    unsafe fn load_partial(from: *const f32, n: usize) -> Self {
        Portable(from_fn(|i| {
            if i < n {
                // SAFETY: the caller vouches for `n` elements.
                unsafe { *from.add(i) }
            } else {
                0.0
            }
        }))
    }

    #[inline(always)]
    unsafe fn load_u16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        Portable(from_fn(|i| f32::from_bits(u32::from(unsafe { *from.add(i) }))))
    }

    #[inline(never)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, LANES) };
    }

    #[inline(never)]
    unsafe fn store_partial(self, to: *mut f32, n: usize) {
        // SAFETY: the caller vouches for `n` elements.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), to, n) };
    }

    #[inline(never)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(never)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(never)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(never)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(never)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Portable(from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }

    #[inline(never)]
    fn sqrt(self) -> Self {
        Portable(self.0.map(f32::sqrt))
    }

    #[inline(never)]
    fn round(self) -> Self {
        Portable(self.0.map(f32::round_ties_even))
    }

    #[inline(never)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(never)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(never)]
    fn less(self, other: Self) -> Self::Mask {
        from_fn(|i| self.0[i] < other.0[i])
    }

    #[inline(never)]
    fn equal(self, other: Self) -> Self::Mask {
        from_fn(|i| self.0[i] == other.0[i])
    }

    #[inline(never)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        Portable(from_fn(|i| if mask[i] { yes.0[i] } else { no.0[i] }))
    }

    #[inline(never)]
    fn any(mask: Self::Mask) -> bool {
        mask.contains(&true)
    }

    #[inline(never)]
    fn and(self, other: Self) -> Self {
        self.bits(other, |a, b| a & b)
    }

    #[inline(never)]
    fn or(self, other: Self) -> Self {
        self.bits(other, |a, b| a | b)
    }

    #[inline(never)]
    fn xor(self, other: Self) -> Self {
        self.bits(other, |a, b| a ^ b)
    }

    #[inline(never)]
    fn add_int(self, other: Self) -> Self {
        self.bits(other, u32::wrapping_add)
    }

    #[inline(never)]
    fn sub_int(self, other: Self) -> Self {
        self.bits(other, u32::wrapping_sub)
    }

    #[inline(never)]
    fn shift_left<const N: i32>(self) -> Self {
        Portable(self.0.map(|x| f32::from_bits(x.to_bits() << N)))
    }

    #[inline(never)]
    fn shift_right<const N: i32>(self) -> Self {
        Portable(self.0.map(|x| f32::from_bits((x.to_bits() as i32 >> N) as u32)))
    }

    #[inline(never)]
    fn to_int(self) -> Self {
        Portable(self.0.map(|x| f32::from_bits(x as i32 as u32)))
    }

    #[inline(never)]
    fn int_to_float(self) -> Self {
        Portable(self.0.map(|x| x.to_bits() as i32 as f32))
    }

    #[inline(never)]
    fn to_array(self) -> [f32; LANES] {
        self.0
    }

    #[inline(never)]
    fn from_array(lanes: [f32; LANES]) -> Self {
        Portable(lanes)
    }
}
