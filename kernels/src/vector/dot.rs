//! Products of bytes, summed in 32-bit integers: what integer contractions are made of.
//!
//! Every instance is exact. Instructions that sum pairs of products in 16 bits saturate, so they are not used: without
//! VNNI, bytes are widened to 16 bits and multiplied there.

#[cfg(target_arch = "aarch64")]
use super::Neon;
#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
use super::{Portable, Task, Vector};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A kernel body, generic over how bytes are multiplied.
pub(crate) trait DotTask {
    /// What it returns.
    type Output;

    /// The body; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// Runs inside [`Dot::vectorize`]; the task's own pointers are valid.
    unsafe fn run<D: Dot>(self) -> Self::Output;
}

/// A way to multiply bytes, over the vectors of an instruction set.
pub(crate) trait Dot: 'static {
    /// The vectors.
    type Vector: Vector;

    /// Rows and panels of 16 columns of the largest tile whose sums stay in registers.
    const TILE: (usize, usize);

    /// Runs `task` compiled with the instructions.
    ///
    /// # Safety
    /// The machine has them; the task's pointers are valid.
    unsafe fn vectorize<T: DotTask>(task: T) -> T::Output;

    /// In each lane: the sum plus the products of the four unsigned bytes of `a` with the four signed bytes of `b`.
    fn dot(sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
}

/// Runs a [`DotTask`] as a [`Task`].
struct Plain<T>(T);

/// Defines an instance with the features of its vectors: `Name over Vector, rows by panels`.
macro_rules! plain {
    ($(#[$doc:meta])* $Name:ident over $V:ty, $rows:literal by $panels:literal, $dot:expr) => {
        $(#[$doc])*
        pub(crate) struct $Name;

        impl<T: DotTask> Task for (Plain<T>, $Name) {
            type Output = T::Output;

            #[inline(always)]
            unsafe fn run<V: Vector>(self) -> T::Output {
                // SAFETY: the caller vouches for the task.
                unsafe { self.0.0.run::<$Name>() }
            }
        }

        impl Dot for $Name {
            type Vector = $V;
            const TILE: (usize, usize) = ($rows, $panels);

            #[inline(always)]
            unsafe fn vectorize<T: DotTask>(task: T) -> T::Output {
                // SAFETY: the caller vouches for the instruction set and the task.
                unsafe { <$V>::vectorize((Plain(task), $Name)) }
            }

            #[inline(always)]
            fn dot(sum: $V, a: $V, b: $V) -> $V {
                let dot: fn($V, $V, $V) -> $V = $dot;
                dot(sum, a, b)
            }
        }
    };
}

plain! {
    /// Byte by byte.
    PortableDot over Portable, 4 by 1, |sum, a, b| {
        let (sums, a, b) = (sum.to_array(), a.to_array(), b.to_array());
        Portable::from_array(std::array::from_fn(|i| {
            let (a, b) = (a[i].to_bits().to_le_bytes(), b[i].to_bits().to_le_bytes());
            let products = a.into_iter().zip(b).map(|(a, b)| i32::from(a) * i32::from(b as i8));
            f32::from_bits((sums[i].to_bits() as i32).wrapping_add(products.sum()) as u32)
        }))
    }
}

#[cfg(target_arch = "x86_64")]
plain! {
    /// Even and odd bytes widened to 16 bits.
    Avx2Dot over Avx2, 4 by 1, |sum, a, b| {
        #[inline(always)]
        fn half(sum: __m256, a: __m256, b: __m256) -> __m256 {
            // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for AVX2.
            unsafe {
                let (a, b) = (_mm256_castps_si256(a), _mm256_castps_si256(b));
                let even = _mm256_madd_epi16(
                    _mm256_and_si256(a, _mm256_set1_epi16(0xff)),
                    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)),
                );
                let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
                let sum = _mm256_add_epi32(_mm256_castps_si256(sum), even);
                _mm256_castsi256_ps(_mm256_add_epi32(sum, odd))
            }
        }
        Avx2(half(sum.0, a.0, b.0), half(sum.1, a.1, b.1))
    }
}

#[cfg(target_arch = "x86_64")]
plain! {
    /// Even and odd bytes widened to 16 bits.
    Avx512Dot over Avx512, 8 by 2, |sum, a, b| {
        // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for AVX-512.
        unsafe {
            let (a, b) = (_mm512_castps_si512(a.0), _mm512_castps_si512(b.0));
            let even = _mm512_madd_epi16(
                _mm512_and_si512(a, _mm512_set1_epi16(0xff)),
                _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(b)),
            );
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(a), _mm512_srai_epi16::<8>(b));
            let sum = _mm512_add_epi32(_mm512_castps_si512(sum.0), even);
            Avx512(_mm512_castsi512_ps(_mm512_add_epi32(sum, odd)))
        }
    }
}

#[cfg(target_arch = "aarch64")]
plain! {
    /// Bytes widened to 16 bits.
    NeonDot over Neon, 4 by 1, |sum, a, b| {
        use std::arch::aarch64::*;
        Neon(std::array::from_fn(|i| {
            // SAFETY: vectors exist only inside `vectorize`, whose caller vouches for NEON.
            unsafe {
                let (a, b) = (vreinterpretq_u8_f32(a.0[i]), vreinterpretq_s8_f32(b.0[i]));
                let a = [vmovl_u8(vget_low_u8(a)), vmovl_u8(vget_high_u8(a))].map(|a| vreinterpretq_s16_u16(a));
                let b = [vmovl_s8(vget_low_s8(b)), vmovl_s8(vget_high_s8(b))];
                let pairs = |i: usize| {
                    let low = vmull_s16(vget_low_s16(a[i]), vget_low_s16(b[i]));
                    vpaddq_s32(low, vmull_s16(vget_high_s16(a[i]), vget_high_s16(b[i])))
                };
                let sum = vaddq_s32(vreinterpretq_s32_f32(sum.0[i]), vpaddq_s32(pairs(0), pairs(1)));
                vreinterpretq_f32_s32(sum)
            }
        }))
    }
}

/// AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Avx512Vnni;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
unsafe fn vectorize_avx512<T: DotTask>(task: T) -> T::Output {
    // SAFETY: the caller vouches for the task.
    unsafe { task.run::<Avx512Vnni>() }
}

#[cfg(target_arch = "x86_64")]
impl Dot for Avx512Vnni {
    type Vector = Avx512;
    const TILE: (usize, usize) = (12, 2);

    #[inline(always)]
    unsafe fn vectorize<T: DotTask>(task: T) -> T::Output {
        // SAFETY: the caller vouches for the instruction set and the task.
        unsafe { vectorize_avx512(task) }
    }

    #[inline(always)]
    fn dot(sum: Avx512, a: Avx512, b: Avx512) -> Avx512 {
        // SAFETY: runs inside `vectorize`, whose caller vouches for the instruction.
        unsafe {
            let (sum, a, b) = (_mm512_castps_si512(sum.0), _mm512_castps_si512(a.0), _mm512_castps_si512(b.0));
            Avx512(_mm512_castsi512_ps(_mm512_dpbusd_epi32(sum, a, b)))
        }
    }
}

/// Rows times K of the smallest product that is faster on the matrix unit than with vectors.
#[cfg(target_arch = "x86_64")]
pub(crate) const LEAST: usize = 2048;

/// AVX-512 VNNI, and the matrix unit for products whose rows times K are at least `LEAST`.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Avx512Amx<const LEAST: usize>;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
unsafe fn vectorize_amx<const LEAST: usize, T: DotTask>(task: T) -> T::Output {
    // SAFETY: the caller vouches for the task.
    unsafe { task.run::<Avx512Amx<LEAST>>() }
}

#[cfg(target_arch = "x86_64")]
impl<const LEAST: usize> Dot for Avx512Amx<LEAST> {
    type Vector = Avx512;
    const TILE: (usize, usize) = Avx512Vnni::TILE;

    #[inline(always)]
    unsafe fn vectorize<T: DotTask>(task: T) -> T::Output {
        // SAFETY: the caller vouches for the instruction set and the task.
        unsafe { vectorize_amx::<LEAST, T>(task) }
    }

    #[inline(always)]
    fn dot(sum: Avx512, a: Avx512, b: Avx512) -> Avx512 {
        Avx512Vnni::dot(sum, a, b)
    }
}

/// AVX-VNNI: the 256-bit instruction.
#[cfg(target_arch = "x86_64")]
pub(crate) struct AvxVnni;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn vectorize_avx2<T: DotTask>(task: T) -> T::Output {
    // SAFETY: the caller vouches for the task.
    unsafe { task.run::<AvxVnni>() }
}

#[cfg(target_arch = "x86_64")]
impl Dot for AvxVnni {
    type Vector = Avx2;
    const TILE: (usize, usize) = (6, 1);

    #[inline(always)]
    unsafe fn vectorize<T: DotTask>(task: T) -> T::Output {
        // SAFETY: the caller vouches for the instruction set and the task.
        unsafe { vectorize_avx2(task) }
    }

    #[inline(always)]
    fn dot(sum: Avx2, a: Avx2, b: Avx2) -> Avx2 {
        #[inline(always)]
        fn half(sum: __m256, a: __m256, b: __m256) -> __m256 {
            // SAFETY: runs inside `vectorize`, whose caller vouches for the instruction.
            unsafe {
                let (sum, a, b) = (_mm256_castps_si256(sum), _mm256_castps_si256(a), _mm256_castps_si256(b));
                _mm256_castsi256_ps(_mm256_dpbusd_avx_epi32(sum, a, b))
            }
        }
        Avx2(half(sum.0, a.0, b.0), half(sum.1, a.1, b.1))
    }
}

/// `$body` for the fastest way `$D` to multiply bytes that the vectors of `$isa` have on this machine.
macro_rules! dots {
    ($isa:expr, $D:ident => $body:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Amx | $crate::isa::Isa::Avx512 if $crate::vector::amx::is_available() => {
                type $D = $crate::vector::dot::Avx512Amx<{ $crate::vector::dot::LEAST }>;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Amx | $crate::isa::Isa::Avx512 if std::is_x86_feature_detected!("avx512vnni") => {
                type $D = $crate::vector::dot::Avx512Vnni;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Amx | $crate::isa::Isa::Avx512 => {
                type $D = $crate::vector::dot::Avx512Dot;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx2 if std::is_x86_feature_detected!("avxvnni") => {
                type $D = $crate::vector::dot::AvxVnni;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx2 => {
                type $D = $crate::vector::dot::Avx2Dot;
                $body
            }
            #[cfg(target_arch = "aarch64")]
            $crate::isa::Isa::Neon => {
                type $D = $crate::vector::dot::NeonDot;
                $body
            }
            _ => {
                type $D = $crate::vector::dot::PortableDot;
                $body
            }
        }
    };
}
pub(crate) use dots;
