//! The AVX2 instance: two 256-bit registers.

use super::{LANES, Task, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(super) __m256, pub(super) __m256);

const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

#[inline(always)]
fn int(x: __m256) -> __m256i {
    // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for AVX2.
    unsafe { _mm256_castps_si256(x) }
}

#[inline(always)]
fn float(x: __m256i) -> __m256 {
    // SAFETY: as in `int`.
    unsafe { _mm256_castsi256_ps(x) }
}

/// Masks of the first `n <= 16` lanes, one for each register.
#[inline(always)]
fn first(n: usize) -> (__m256i, __m256i) {
    const MASK: [i32; 32] = {
        let mut mask = [0; 32];
        let mut i = 0;
        while i < LANES {
            mask[i] = -1;
            i += 1;
        }
        mask
    };
    let from = MASK[LANES - n..].as_ptr();
    // SAFETY: 16 elements follow, because `n` is at most 16.
    unsafe { (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn vectorize<T: Task>(task: T) -> T::Output {
    // SAFETY: the caller vouches for the task.
    unsafe { task.run::<Avx2>() }
}

/// The sum of 16 lanes: `i` with `i + 8`, then 4, 2, 1.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
pub(super) unsafe fn lanes_sum(low: __m256, high: __m256) -> f32 {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let x = _mm256_add_ps(low, high);
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}

/// The greatest of 16 lanes, of which none is NaN.
///
/// # Safety
/// The machine has AVX2.
#[inline(always)]
pub(super) unsafe fn lanes_max(low: __m256, high: __m256) -> f32 {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let x = _mm256_max_ps(low, high);
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }
}

impl Vector for Avx2 {
    type Mask = Avx2;
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn vectorize<T: Task>(task: T) -> T::Output {
        // SAFETY: the caller vouches for the instruction set and the task.
        unsafe { vectorize(task) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const f32, n: usize) -> Self {
        let (low, high) = first(n);
        // SAFETY: the caller vouches for `n` elements; masked lanes are not read.
        unsafe { Avx2(_mm256_maskload_ps(from, low), _mm256_maskload_ps(from.wrapping_add(8), high)) }
    }

    #[inline(always)]
    unsafe fn load_u16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        unsafe {
            let (low, high) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(8).cast()));
            Avx2(float(_mm256_cvtepu16_epi32(low)), float(_mm256_cvtepu16_epi32(high)))
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        unsafe {
            let (low, high) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(8).cast()));
            Avx2(_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for 16 elements.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize) {
        let (low, high) = first(n);
        // SAFETY: the caller vouches for `n` elements; masked lanes are not written.
        unsafe {
            _mm256_maskstore_ps(to, low, self.0);
            _mm256_maskstore_ps(to.wrapping_add(8), high, self.1);
        }
    }

    #[inline(always)]
    unsafe fn load_bytes<const SIGNED: bool>(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes.
        let (low, high) = unsafe { (_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(8).cast())) };
        // SAFETY: as in `int`.
        unsafe {
            if SIGNED {
                Avx2(float(_mm256_cvtepi8_epi32(low)), float(_mm256_cvtepi8_epi32(high)))
            } else {
                Avx2(float(_mm256_cvtepu8_epi32(low)), float(_mm256_cvtepu8_epi32(high)))
            }
        }
    }

    #[inline(always)]
    unsafe fn load_quads(rows: [*const u8; 4], n: usize) -> Self {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let mut x = [_mm_setzero_si128(); 4];
            for (x, row) in x.iter_mut().zip(rows).take(n) {
                *x = _mm_loadu_si128(row.cast());
            }
            let (a, b) = (_mm_unpacklo_epi8(x[0], x[1]), _mm_unpacklo_epi8(x[2], x[3]));
            let (c, d) = (_mm_unpackhi_epi8(x[0], x[1]), _mm_unpackhi_epi8(x[2], x[3]));
            let low = _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
            let high = _mm256_set_m128i(_mm_unpackhi_epi16(c, d), _mm_unpacklo_epi16(c, d));
            Avx2(float(low), float(high))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: as in `int`; the caller vouches for 16 bytes.
        unsafe {
            let byte = _mm256_set1_epi32(0xff);
            let (low, high) = (_mm256_and_si256(int(self.0), byte), _mm256_and_si256(int(self.1), byte));
            // Packing works within halves: columns 0-3 and 8-11, then 4-7 and 12-15.
            let words = _mm256_permute4x64_epi64::<0xd8>(_mm256_packus_epi32(low, high));
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn store_saturated<const TOGETHER: usize>(values: [Self; 4], zero: u8, to: &[*mut u8], n: usize) {
        let mut bytes = [0; 4 * LANES];
        // SAFETY: as in `int`; the array has the bytes; the caller vouches for the pointers.
        unsafe {
            // What is too low for an integer becomes the least one.
            let greatest = _mm256_set1_ps(255.0 - f32::from(zero));
            let zero = _mm256_set1_epi16(zero.into());
            let mut packed = [_mm256_setzero_si256(); 4];
            for (packed, value) in packed.iter_mut().zip(values) {
                let low = _mm256_cvtps_epi32(_mm256_min_ps(greatest, value.0));
                let high = _mm256_cvtps_epi32(_mm256_min_ps(greatest, value.1));
                *packed = _mm256_adds_epi16(_mm256_packs_epi32(low, high), zero);
            }
            // Packing works within halves: words 0, 2, 4, 6 of a vector's bytes are in the lower one.
            let words = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            for pair in 0..2 {
                let both = _mm256_packus_epi16(packed[2 * pair], packed[2 * pair + 1]);
                let both = _mm256_permutevar8x32_epi32(both, words);
                _mm256_storeu_si256(bytes[pair * 2 * LANES..].as_mut_ptr().cast(), both);
            }
            super::store_parts::<TOGETHER>(&bytes, to, n);
        }
    }

    #[inline(always)]
    fn mul_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe {
            let low = _mm256_mullo_epi32(int(self.0), int(other.0));
            Avx2(float(low), float(_mm256_mullo_epi32(int(self.1), int(other.1))))
        }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_and_ps(self.0, other.0), _mm256_and_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_or_ps(self.0, other.0), _mm256_or_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_xor_ps(self.0, other.0), _mm256_xor_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_fmadd_ps(self.0, factor.0, addend.0), _mm256_fmadd_ps(self.1, factor.1, addend.1)) }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_sqrt_ps(self.0), _mm256_sqrt_ps(self.1)) }
    }

    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)) }
    }

    #[inline(always)]
    fn less(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0), _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1)) }
    }

    #[inline(always)]
    fn equal(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0), _mm256_cmp_ps::<_CMP_EQ_OQ>(self.1, other.1)) }
    }

    #[inline(always)]
    fn select(mask: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_blendv_ps(no.0, yes.0, mask.0), _mm256_blendv_ps(no.1, yes.1, mask.1)) }
    }

    #[inline(always)]
    fn any(mask: Self) -> bool {
        // SAFETY: as in `int`.
        unsafe { _mm256_movemask_ps(_mm256_or_ps(mask.0, mask.1)) != 0 }
    }

    #[inline(always)]
    fn add_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe {
            Avx2(float(_mm256_add_epi32(int(self.0), int(other.0))), float(_mm256_add_epi32(int(self.1), int(other.1))))
        }
    }

    #[inline(always)]
    fn sub_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe {
            Avx2(float(_mm256_sub_epi32(int(self.0), int(other.0))), float(_mm256_sub_epi32(int(self.1), int(other.1))))
        }
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(float(_mm256_slli_epi32::<N>(int(self.0))), float(_mm256_slli_epi32::<N>(int(self.1)))) }
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(float(_mm256_srai_epi32::<N>(int(self.0))), float(_mm256_srai_epi32::<N>(int(self.1)))) }
    }

    #[inline(always)]
    fn to_int(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(float(_mm256_cvtps_epi32(self.0)), float(_mm256_cvtps_epi32(self.1))) }
    }

    #[inline(always)]
    fn round_to_int(self) -> Self {
        self.to_int()
    }

    #[inline(always)]
    fn int_to_float(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx2(_mm256_cvtepi32_ps(int(self.0)), _mm256_cvtepi32_ps(int(self.1))) }
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        // SAFETY: both are 16 floats.
        unsafe { std::mem::transmute([self.0, self.1]) }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for AVX2.
        unsafe { lanes_sum(self.0, self.1) }
    }

    #[inline(always)]
    fn greatest(self) -> f32 {
        // SAFETY: as above.
        unsafe {
            let [low, high] = [self.0, self.1].map(|x| _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            if _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0 {
                return f32::NAN;
            }
            lanes_max(self.0, self.1)
        }
    }

    #[inline(always)]
    fn from_array(lanes: [f32; LANES]) -> Self {
        // SAFETY: both are 16 floats.
        let [low, high] = unsafe { std::mem::transmute::<[f32; LANES], [__m256; 2]>(lanes) };
        Avx2(low, high)
    }

    #[inline(always)]
    fn transpose(rows: &mut [Self; LANES]) {
        // The 8 by 8 blocks change places as they are transposed.
        for (i, j) in [(0, 0), (0, 1), (1, 1)] {
            let [mut upper, mut lower] = [[rows[0].0; 8]; 2];
            for row in 0..8 {
                upper[row] = if j == 0 { rows[8 * i + row].0 } else { rows[8 * i + row].1 };
                lower[row] = if i == 0 { rows[8 * j + row].0 } else { rows[8 * j + row].1 };
            }
            let (upper, lower) = (transpose_block(upper), transpose_block(lower));
            for row in 0..8 {
                if i == 0 {
                    rows[8 * j + row].0 = upper[row];
                } else {
                    rows[8 * j + row].1 = upper[row];
                }
                if j == 0 {
                    rows[8 * i + row].0 = lower[row];
                } else {
                    rows[8 * i + row].1 = lower[row];
                }
            }
        }
    }
}

/// Transposes an 8 by 8 matrix.
#[inline(always)]
fn transpose_block(rows: [__m256; 8]) -> [__m256; 8] {
    let mut out = rows;
    // SAFETY: as in `int`.
    unsafe {
        for half in 0..2 {
            let [a, b, c, d] = [rows[4 * half], rows[4 * half + 1], rows[4 * half + 2], rows[4 * half + 3]];
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            out[4 * half] = _mm256_shuffle_ps::<0x44>(ab_low, cd_low);
            out[4 * half + 1] = _mm256_shuffle_ps::<0xee>(ab_low, cd_low);
            out[4 * half + 2] = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
            out[4 * half + 3] = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
        }
        for j in 0..4 {
            let (low, high) = (out[j], out[4 + j]);
            out[j] = _mm256_permute2f128_ps::<0x20>(low, high);
            out[4 + j] = _mm256_permute2f128_ps::<0x31>(low, high);
        }
    }
    out
}
