//! The NEON instance: four 128-bit registers.

use super::{LANES, Task, Vector};
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
pub(crate) struct Neon(pub(super) [float32x4_t; 4]);

impl Neon {
    #[inline(always)]
    fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        let [a, b, c, d] = self.0;
        Neon([f(a), f(b), f(c), f(d)])
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        let ([a, b, c, d], [e, g, h, i]) = (self.0, other.0);
        Neon([f(a, e), f(b, g), f(c, h), f(d, i)])
    }
}

#[inline(always)]
fn int(x: float32x4_t) -> int32x4_t {
    // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for NEON.
    unsafe { vreinterpretq_s32_f32(x) }
}

#[inline(always)]
fn float(x: int32x4_t) -> float32x4_t {
    // SAFETY: as in `int`.
    unsafe { vreinterpretq_f32_s32(x) }
}

#[target_feature(enable = "neon")]
unsafe fn vectorize<T: Task>(task: T) -> T::Output {
    // SAFETY: the caller vouches for the task.
    unsafe { task.run::<Neon>() }
}

impl Vector for Neon {
    type Mask = [uint32x4_t; 4];
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn vectorize<T: Task>(task: T) -> T::Output {
        // SAFETY: the caller vouches for the instruction set and the task.
        unsafe { vectorize(task) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { Neon([vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))]) }
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const f32, n: usize) -> Self {
        let mut lanes = [0.0; LANES];
        // SAFETY: the caller vouches for `n` elements.
        unsafe { std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n) };
        Self::from_array(lanes)
    }

    #[inline(always)]
    unsafe fn load_u16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        let wide = |i: usize| unsafe { vreinterpretq_f32_u32(vmovl_u16(vld1_u16(from.add(4 * i)))) };
        Neon([wide(0), wide(1), wide(2), wide(3)])
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for i in 0..4 {
            // SAFETY: the caller vouches for 16 elements.
            unsafe { vst1q_f32(to.add(4 * i), self.0[i]) };
        }
    }

    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize) {
        // SAFETY: the caller vouches for `n` elements.
        unsafe { std::ptr::copy_nonoverlapping(self.to_array().as_ptr(), to, n) };
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: as in `int`.
        unsafe { Neon([vdupq_n_f32(x); 4]) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| vaddq_f32(a, b)) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| vsubq_f32(a, b)) }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| vmulq_f32(a, b)) }
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| vdivq_f32(a, b)) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h], [i, j, k, l]) = (addend.0, self.0, factor.0);
        // SAFETY: as in `int`.
        unsafe { Neon([vfmaq_f32(a, e, i), vfmaq_f32(b, f, j), vfmaq_f32(c, g, k), vfmaq_f32(d, h, l)]) }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.map(|x| vsqrtq_f32(x)) }
    }

    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.map(|x| vrndnq_f32(x)) }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| vbslq_f32(vcgtq_f32(a, b), a, b)) }
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| vbslq_f32(vcltq_f32(a, b), a, b)) }
    }

    #[inline(always)]
    fn less(self, other: Self) -> Self::Mask {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        // SAFETY: as in `int`.
        unsafe { [vcltq_f32(a, e), vcltq_f32(b, f), vcltq_f32(c, g), vcltq_f32(d, h)] }
    }

    #[inline(always)]
    fn equal(self, other: Self) -> Self::Mask {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        // SAFETY: as in `int`.
        unsafe { [vceqq_f32(a, e), vceqq_f32(b, f), vceqq_f32(c, g), vceqq_f32(d, h)] }
    }

    #[inline(always)]
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        let (m, [a, b, c, d], [e, f, g, h]) = (mask, yes.0, no.0);
        // SAFETY: as in `int`.
        unsafe { Neon([vbslq_f32(m[0], a, e), vbslq_f32(m[1], b, f), vbslq_f32(m[2], c, g), vbslq_f32(m[3], d, h)]) }
    }

    #[inline(always)]
    fn any(mask: Self::Mask) -> bool {
        // SAFETY: as in `int`.
        unsafe { mask.iter().any(|&m| vmaxvq_u32(m) != 0) }
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| float(vandq_s32(int(a), int(b)))) }
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| float(vorrq_s32(int(a), int(b)))) }
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| float(veorq_s32(int(a), int(b)))) }
    }

    #[inline(always)]
    fn add_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| float(vaddq_s32(int(a), int(b)))) }
    }

    #[inline(always)]
    fn sub_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.zip(other, |a, b| float(vsubq_s32(int(a), int(b)))) }
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.map(|x| float(vshlq_s32(int(x), vdupq_n_s32(N)))) }
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.map(|x| float(vshlq_s32(int(x), vdupq_n_s32(-N)))) }
    }

    #[inline(always)]
    fn to_int(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.map(|x| float(vcvtq_s32_f32(x))) }
    }

    #[inline(always)]
    fn int_to_float(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { self.map(|x| vcvtq_f32_s32(int(x))) }
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        // SAFETY: both are 16 floats.
        unsafe { std::mem::transmute(self.0) }
    }

    #[inline(always)]
    fn from_array(lanes: [f32; LANES]) -> Self {
        // SAFETY: both are 16 floats.
        Neon(unsafe { std::mem::transmute::<[f32; LANES], [float32x4_t; 4]>(lanes) })
    }
}
