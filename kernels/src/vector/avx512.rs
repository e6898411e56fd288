//! The AVX-512 instance: one 512-bit register.

use super::avx2::{lanes_max, lanes_sum};
use super::{LANES, Task, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(super) __m512);

#[inline(always)]
fn int(x: Avx512) -> __m512i {
    // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for AVX-512.
    unsafe { _mm512_castps_si512(x.0) }
}

#[inline(always)]
fn float(x: __m512i) -> Avx512 {
    // SAFETY: as in `int`.
    Avx512(unsafe { _mm512_castsi512_ps(x) })
}

/// The integers nearest to the floats of four vectors, plus `zero`, limited to unsigned bytes: those of each quarter of each
/// vector in turn.
#[inline(always)]
fn saturated(values: &[Avx512], zero: u8) -> __m512i {
    // SAFETY: as in `int`.
    unsafe {
        // What is too low for an integer becomes the least one.
        let greatest = _mm512_set1_ps(255.0 - f32::from(zero));
        let mut integers = [_mm512_setzero_si512(); 4];
        for (integer, value) in integers.iter_mut().zip(values) {
            *integer = _mm512_cvtps_epi32(_mm512_min_ps(greatest, value.0));
        }
        let zero = _mm512_set1_epi16(zero.into());
        let low = _mm512_adds_epi16(_mm512_packs_epi32(integers[0], integers[1]), zero);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(integers[2], integers[3]), zero);
        _mm512_packus_epi16(low, high)
    }
}

/// The first `n` bytes, at most 64, then zeros.
#[inline(always)]
unsafe fn wide_bytes(from: *const u8, n: usize) -> __m512i {
    // SAFETY: the caller vouches for `n` bytes; masked ones are not read.
    unsafe {
        match n == 4 * LANES {
            true => _mm512_loadu_si512(from.cast()),
            false => _mm512_maskz_loadu_epi8(u64::MAX >> (64 - n), from.cast()),
        }
    }
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")]
unsafe fn vectorize<T: Task>(task: T) -> T::Output {
    // SAFETY: the caller vouches for the task.
    unsafe { task.run::<Avx512>() }
}

impl Vector for Avx512 {
    type Mask = __mmask16;
    const REGISTERS: usize = 32;
    const TOGETHER: usize = 4;

    #[inline(always)]
    unsafe fn vectorize<T: Task>(task: T) -> T::Output {
        // SAFETY: the caller vouches for the instruction set and the task.
        unsafe { vectorize(task) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        Avx512(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_partial(from: *const f32, n: usize) -> Self {
        // SAFETY: the caller vouches for `n` elements; masked lanes are not read.
        Avx512(unsafe { _mm512_maskz_loadu_ps(first(n), from) })
    }

    #[inline(always)]
    unsafe fn load_u16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { Avx512(_mm512_castsi512_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { _mm512_storeu_ps(to, self.0) };
    }

    #[inline(always)]
    unsafe fn store_partial(self, to: *mut f32, n: usize) {
        // SAFETY: the caller vouches for `n` elements; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(to, first(n), self.0) };
    }

    #[inline(always)]
    unsafe fn load_bytes<const SIGNED: bool>(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            float(if SIGNED { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) })
        }
    }

    #[inline(always)]
    unsafe fn load_bytes_partial<const SIGNED: bool>(from: *const u8, n: usize) -> Self {
        // SAFETY: the caller vouches for `n` bytes; masked ones are not read.
        unsafe {
            let bytes = _mm_maskz_loadu_epi8(first(n), from.cast());
            float(if SIGNED { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) })
        }
    }

    #[inline(always)]
    unsafe fn load_quads(rows: [*const u8; 4], n: usize) -> Self {
        // Block `i` of the transposed 32-bit words has word `i` of each row; then bytes are transposed in each block.
        const WORDS: [i32; LANES] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
        const BYTES: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
        // SAFETY: the caller vouches for the rows; the constants have the size of what is loaded.
        unsafe {
            if n == 1 {
                return Self::load_bytes::<false>(rows[0]);
            }
            let mut x = _mm512_zextsi128_si512(_mm_loadu_si128(rows[0].cast()));
            x = _mm512_mask_broadcast_i32x4(x, 0x00f0, _mm_loadu_si128(rows[1].cast()));
            if n > 2 {
                x = _mm512_mask_broadcast_i32x4(x, 0x0f00, _mm_loadu_si128(rows[2].cast()));
            }
            if n > 3 {
                x = _mm512_mask_broadcast_i32x4(x, 0xf000, _mm_loadu_si128(rows[3].cast()));
            }
            let words = _mm512_permutexvar_epi32(_mm512_loadu_si512(WORDS.as_ptr().cast()), x);
            let bytes = _mm512_broadcast_i32x4(_mm_loadu_si128(BYTES.as_ptr().cast()));
            float(_mm512_shuffle_epi8(words, bytes))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(int(self))) };
    }

    #[inline(always)]
    unsafe fn store_bytes_partial(self, to: *mut u8, n: usize) {
        // SAFETY: the caller vouches for `n` bytes; masked ones are not written.
        unsafe { _mm512_mask_cvtepi32_storeu_epi8(to.cast(), first(n), int(self)) };
    }

    #[inline(always)]
    fn arrange<const N: usize>(mut vectors: [Self; N]) -> [Self; N] {
        if N == 4 {
            // The quarters of four vectors, transposed: instructions that pack and unpack work within quarters.
            let [a, b, c, d] = [vectors[0].0, vectors[1].0, vectors[2].0, vectors[3].0];
            // SAFETY: as in `int`.
            unsafe {
                let (low, high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                let (next_low, next_high) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                vectors[0] = Avx512(_mm512_shuffle_f32x4::<0x88>(low, next_low));
                vectors[1] = Avx512(_mm512_shuffle_f32x4::<0xdd>(low, next_low));
                vectors[2] = Avx512(_mm512_shuffle_f32x4::<0x88>(high, next_high));
                vectors[3] = Avx512(_mm512_shuffle_f32x4::<0xdd>(high, next_high));
            }
        }
        vectors
    }

    #[inline(always)]
    unsafe fn load_arranged_quads<const N: usize, const ROWS: usize>(
        rows: [*const u8; ROWS],
        bytes: usize,
    ) -> [Self; N] {
        let mut vectors = [Self::splat(0.0); N];
        let row = |row: usize| rows[row.min(ROWS - 1)];
        // SAFETY: the caller vouches for the rows.
        unsafe {
            if N != 4 {
                vectors[0] = Self::load_quads_partial([row(0), row(1), row(2), row(3)], ROWS, bytes);
                return vectors;
            }
            let zero = _mm512_setzero_si512();
            let a = wide_bytes(row(0), bytes);
            let b = if ROWS > 1 { wide_bytes(row(1), bytes) } else { zero };
            let c = if ROWS > 2 { wide_bytes(row(2), bytes) } else { zero };
            let d = if ROWS > 3 { wide_bytes(row(3), bytes) } else { zero };
            let (low, high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let (next_low, next_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
            vectors[0] = float(_mm512_unpacklo_epi16(low, next_low));
            vectors[1] = float(_mm512_unpackhi_epi16(low, next_low));
            vectors[2] = float(_mm512_unpacklo_epi16(high, next_high));
            vectors[3] = float(_mm512_unpackhi_epi16(high, next_high));
            vectors
        }
    }

    #[inline(always)]
    unsafe fn store_arranged<const N: usize>(values: [Self; N], zero: u8, to: *mut u8, n: usize) {
        let bytes = saturated(&values, zero);
        // SAFETY: the caller vouches for the bytes; masked ones are not written.
        unsafe {
            match n == 4 * LANES {
                true => _mm512_storeu_si512(to.cast(), bytes),
                false => _mm512_mask_storeu_epi8(to.cast(), u64::MAX >> (64 - n), bytes),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_saturated<const TOGETHER: usize>(values: [Self; 4], zero: u8, to: &[*mut u8], n: usize) {
        // Word `4 * i + j` of the bytes is word `i` of vector `j`.
        const WORDS: [i32; LANES] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
        // SAFETY: the constant has the size of what is loaded; the caller vouches for the pointers, and what a mask leaves
        // out is not written.
        unsafe {
            let words = _mm512_loadu_si512(WORDS.as_ptr().cast());
            let bytes = _mm512_permutexvar_epi32(words, saturated(&values, zero));
            let is_whole = n == TOGETHER * LANES;
            for (part, &to) in to.iter().enumerate().take(4 / TOGETHER) {
                match TOGETHER {
                    4 if is_whole => _mm512_storeu_si512(to.cast(), bytes),
                    4 => _mm512_mask_storeu_epi8(to.cast(), u64::MAX >> (64 - n), bytes),
                    2 => {
                        let half = match part {
                            0 => _mm512_castsi512_si256(bytes),
                            _ => _mm512_extracti64x4_epi64::<1>(bytes),
                        };
                        match is_whole {
                            true => _mm256_storeu_si256(to.cast(), half),
                            false => _mm256_mask_storeu_epi8(to.cast(), u32::MAX >> (32 - n), half),
                        }
                    }
                    _ => {
                        let quarter = match part {
                            0 => _mm512_castsi512_si128(bytes),
                            1 => _mm512_extracti32x4_epi32::<1>(bytes),
                            2 => _mm512_extracti32x4_epi32::<2>(bytes),
                            _ => _mm512_extracti32x4_epi32::<3>(bytes),
                        };
                        match is_whole {
                            true => _mm_storeu_si128(to.cast(), quarter),
                            false => _mm_mask_storeu_epi8(to.cast(), first(n), quarter),
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn low_half_to_float(self) -> Self {
        const INTEGERS: [f32; LANES] = {
            let mut integers = [0.0; LANES];
            let mut bits = 0;
            while bits < LANES {
                integers[bits] = if bits < LANES / 2 { bits as f32 } else { bits as f32 - LANES as f32 };
                bits += 1;
            }
            integers
        };
        // SAFETY: as in `int`; the table has 16 elements, and the permutation looks at four bits of each index.
        unsafe { Avx512(_mm512_permutexvar_ps(int(self), _mm512_loadu_ps(INTEGERS.as_ptr()))) }
    }

    #[inline(always)]
    fn mul_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        float(unsafe { _mm512_mullo_epi32(int(self), int(other)) })
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_set1_ps(x)) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_and_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_or_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_xor_ps(self.0, other.0)) }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_sqrt_ps(self.0)) }
    }

    #[inline(always)]
    fn round(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
    }

    #[inline(always)]
    fn less(self, other: Self) -> __mmask16 {
        // SAFETY: as in `int`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn equal(self, other: Self) -> __mmask16 {
        // SAFETY: as in `int`.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0) }
    }

    #[inline(always)]
    fn select(mask: __mmask16, yes: Self, no: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_mask_blend_ps(mask, no.0, yes.0)) }
    }

    #[inline(always)]
    fn add_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { float(_mm512_add_epi32(int(self), int(other))) }
    }

    #[inline(always)]
    fn sub_int(self, other: Self) -> Self {
        // SAFETY: as in `int`.
        unsafe { float(_mm512_sub_epi32(int(self), int(other))) }
    }

    #[inline(always)]
    fn to_int(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { float(_mm512_cvtps_epi32(self.0)) }
    }

    #[inline(always)]
    fn round_to_int(self) -> Self {
        self.to_int()
    }

    #[inline(always)]
    fn int_to_float(self) -> Self {
        // SAFETY: as in `int`.
        unsafe { Avx512(_mm512_cvtepi32_ps(int(self))) }
    }

    #[inline(always)]
    fn shift_left<const N: i32>(self) -> Self {
        // SAFETY: as in `int`.
        float(unsafe { _mm512_sllv_epi32(int(self), _mm512_set1_epi32(N)) })
    }

    #[inline(always)]
    fn shift_right<const N: i32>(self) -> Self {
        // SAFETY: as in `int`.
        float(unsafe { _mm512_srav_epi32(int(self), _mm512_set1_epi32(N)) })
    }

    #[inline(always)]
    fn any(mask: __mmask16) -> bool {
        mask != 0
    }

    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        // SAFETY: both are 16 floats.
        unsafe { std::mem::transmute(self.0) }
    }

    #[inline(always)]
    fn from_array(lanes: [f32; LANES]) -> Self {
        // SAFETY: both are 16 floats.
        Avx512(unsafe { std::mem::transmute::<[f32; LANES], __m512>(lanes) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for AVX-512 and AVX2.
        unsafe { lanes_sum(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0)) }
    }

    #[inline(always)]
    fn greatest(self) -> f32 {
        // SAFETY: as above.
        unsafe {
            if _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0) != 0 {
                return f32::NAN;
            }
            lanes_max(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0))
        }
    }

    #[inline(always)]
    fn transpose(rows: &mut [Self; LANES]) {
        // SAFETY: as in `int`.
        unsafe {
            // Within 128-bit blocks: 4 by 4 transposes.
            let mut pairs = [rows[0].0; LANES];
            for i in 0..8 {
                pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i].0, rows[2 * i + 1].0);
                pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i].0, rows[2 * i + 1].0);
            }
            let pair = |i: usize| _mm512_castps_pd(pairs[i]);
            let mut quads = [rows[0].0; LANES];
            for i in 0..4 {
                for half in 0..2 {
                    let (a, b) = (pair(4 * i + half), pair(4 * i + 2 + half));
                    quads[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    quads[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            // Among the blocks: `quads[4 * i + j]` holds column `4 * block + j` of rows `4 * i..4 * i + 4`.
            for j in 0..4 {
                let [a, b, c, d] = [quads[j], quads[4 + j], quads[8 + j], quads[12 + j]];
                let (ab_low, ab_high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                let (cd_low, cd_high) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                rows[j] = Avx512(_mm512_shuffle_f32x4::<0x88>(ab_low, cd_low));
                rows[4 + j] = Avx512(_mm512_shuffle_f32x4::<0xdd>(ab_low, cd_low));
                rows[8 + j] = Avx512(_mm512_shuffle_f32x4::<0x88>(ab_high, cd_high));
                rows[12 + j] = Avx512(_mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high));
            }
        }
    }
}
