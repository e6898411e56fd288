//! Sixteen f32 lanes on every instruction set.
//!
//! A kernel is one generic body over [`Vector`], instantiated for each instruction set. Every operation is defined bit
//! for bit (NaN payloads aside), whatever the width of the registers behind it, so the instances agree.
//!
//! Bodies are `#[inline(always)]` and run inside [`Vector::vectorize`], which compiles them with the instruction set's
//! features. Values of a vector type exist nowhere else; that is what makes its methods safe to call.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod dot;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use dot::{Dot, DotTask, dots};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;

/// Number of lanes.
pub(crate) const LANES: usize = 16;

/// A kernel body, generic over the instruction set.
pub(crate) trait Task {
    /// What it returns.
    type Output;

    /// The body; implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// Runs inside [`Vector::vectorize`]; the task's own pointers are valid.
    unsafe fn run<V: Vector>(self) -> Self::Output;
}

/// Sixteen f32 lanes. Integer operations see the lanes as 32-bit integers.
pub(crate) trait Vector: Copy + 'static {
    /// One boolean for each lane.
    type Mask: Copy;

    /// How many vectors the registers hold.
    const REGISTERS: usize;

    /// How many vectors of bytes are best put together at once: 1 or 4.
    const TOGETHER: usize = 1;

    /// Runs `task` compiled with this instruction set.
    ///
    /// # Safety
    /// The machine has the instruction set; the task's pointers are valid.
    unsafe fn vectorize<T: Task>(task: T) -> T::Output;

    /// All lanes `x`.
    fn splat(x: f32) -> Self;

    /// # Safety
    /// 16 elements are readable at `from`.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `n <= 16` elements, then zeros.
    ///
    /// # Safety
    /// `n` elements are readable at `from`.
    unsafe fn load_partial(from: *const f32, n: usize) -> Self;

    /// Sixteen 16-bit integers, zero-extended.
    ///
    /// # Safety
    /// 16 elements are readable at `from`.
    unsafe fn load_u16(from: *const u16) -> Self;

    /// Sixteen bf16 numbers.
    ///
    /// # Safety
    /// 16 elements are readable at `from`.
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { Self::load_u16(from) }.shift_left::<16>()
    }

    /// Sixteen IEEE binary16 numbers.
    ///
    /// # Safety
    /// 16 elements are readable at `from`.
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: the caller vouches for 16 elements.
        let bits = unsafe { Self::load_u16(from) };
        let magnitude = bits.and(Self::splat_bits(0x7fff)).shift_left::<13>();
        // The product moves the exponent by 112 and normalizes subnormals.
        let finite = magnitude.mul(Self::splat_bits((127 + 112) << 23));
        let special = magnitude.or(Self::splat_bits(0x7f80_0000));
        let value = Self::select(magnitude.less(Self::splat_bits(0x7c00 << 13)), finite, special);
        value.or(bits.and(Self::splat_bits(0x8000)).shift_left::<16>())
    }

    /// # Safety
    /// 16 elements are writable at `to`.
    unsafe fn store(self, to: *mut f32);

    /// Stores the first `n <= 16` lanes.
    ///
    /// # Safety
    /// `n` elements are writable at `to`.
    unsafe fn store_partial(self, to: *mut f32, n: usize);

    /// Sixteen bytes as integers: signed bytes if `SIGNED`.
    ///
    /// # Safety
    /// 16 bytes are readable at `from`.
    #[inline(always)]
    unsafe fn load_bytes<const SIGNED: bool>(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes.
        let bytes = unsafe { from.cast::<[u8; LANES]>().read_unaligned() };
        let extend = |byte: u8| if SIGNED { i32::from(byte as i8) as u32 } else { u32::from(byte) };
        Self::from_array(bytes.map(|byte| f32::from_bits(extend(byte))))
    }

    /// The first `n <= 16` bytes as integers, then zeros.
    ///
    /// # Safety
    /// `n` bytes are readable at `from`.
    #[inline(always)]
    unsafe fn load_bytes_partial<const SIGNED: bool>(from: *const u8, n: usize) -> Self {
        let mut bytes = [0; LANES];
        // SAFETY: the caller vouches for `n` bytes, at most as many as the array has; then for the array.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n);
            Self::load_bytes::<SIGNED>(bytes.as_ptr())
        }
    }

    /// In each lane the bytes that four rows of 16 have there, the first row's lowest. Of the rows `n` exist; the others
    /// are zeros.
    ///
    /// # Safety
    /// 16 bytes are readable at each of the first `n` of `rows`, which are 1 to 4.
    #[inline(always)]
    unsafe fn load_quads(rows: [*const u8; 4], n: usize) -> Self {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let mut lanes = Self::load_bytes::<false>(rows[n - 1]);
            for row in (0..n - 1).rev() {
                lanes = lanes.shift_left::<8>().or(Self::load_bytes::<false>(rows[row]));
            }
            lanes
        }
    }

    /// The same of the first `bytes` bytes of rows, then zeros.
    ///
    /// # Safety
    /// So many bytes, or 16, are readable at each of the first `n` of `rows`, which are 1 to 4.
    #[inline(always)]
    unsafe fn load_quads_partial(rows: [*const u8; 4], n: usize, bytes: usize) -> Self {
        // SAFETY: the caller vouches for the rows.
        unsafe {
            if bytes >= LANES {
                return Self::load_quads(rows, n);
            }
            let mut lanes = Self::splat(0.0);
            for row in rows[..n].iter().rev() {
                lanes = lanes.shift_left::<8>().or(Self::load_bytes_partial::<false>(*row, bytes));
            }
            lanes
        }
    }

    /// Stores the low byte of each integer.
    ///
    /// # Safety
    /// 16 bytes are writable at `to`.
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        let bytes = self.to_array().map(|lane| lane.to_bits() as u8);
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { to.cast::<[u8; LANES]>().write_unaligned(bytes) };
    }

    /// Stores the low byte of each of the first `n <= 16` integers.
    ///
    /// # Safety
    /// `n` bytes are writable at `to`.
    #[inline(always)]
    unsafe fn store_bytes_partial(self, to: *mut u8, n: usize) {
        let mut bytes = [0u8; LANES];
        // SAFETY: the array has 16 bytes; the caller vouches for `n`.
        unsafe {
            self.store_bytes(bytes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, n);
        }
    }

    /// Stores the integers nearest to four vectors of floats, plus `zero`, limited to unsigned bytes: at each pointer those of
    /// `TOGETHER` vectors, which are 1, 2 or 4, of which the first `n` bytes are stored. Ties go to even. There are as many
    /// pointers as there is something for, or fewer.
    ///
    /// # Safety
    /// `n` bytes are writable at each pointer.
    #[inline(always)]
    unsafe fn store_saturated<const TOGETHER: usize>(values: [Self; 4], zero: u8, to: &[*mut u8], n: usize) {
        let zero = f32::from(zero);
        let (least, greatest) = (Self::splat(-zero), Self::splat(255.0 - zero));
        let mut bytes = [0; 4 * LANES];
        for (value, bytes) in values.into_iter().zip(bytes.chunks_exact_mut(LANES)) {
            let integers = value.max(least).min(greatest).round_to_int().add_int(Self::splat_bits(zero as u32));
            // SAFETY: the part has 16 bytes.
            unsafe { integers.store_bytes(bytes.as_mut_ptr()) };
        }
        // SAFETY: the caller vouches for the pointers.
        unsafe { store_parts::<TOGETHER>(&bytes, to, n) };
    }

    /// The lanes of `N` vectors, which is 1 or [`TOGETHER`](Self::TOGETHER), in the order in which
    /// [`load_arranged_quads`](Self::load_arranged_quads) and [`store_arranged`](Self::store_arranged) have them; and back.
    #[inline(always)]
    fn arrange<const N: usize>(vectors: [Self; N]) -> [Self; N] {
        vectors
    }

    /// [`load_quads`](Self::load_quads) of the first `bytes` bytes of 1 to 4 rows, then zeros, as `N` vectors,
    /// [arranged](Self::arrange).
    ///
    /// # Safety
    /// So many bytes are readable at each row.
    #[inline(always)]
    unsafe fn load_arranged_quads<const N: usize, const ROWS: usize>(
        rows: [*const u8; ROWS],
        bytes: usize,
    ) -> [Self; N] {
        let mut vectors = [Self::splat(0.0); N];
        for (i, vector) in vectors.iter_mut().enumerate().take(bytes.div_ceil(LANES)) {
            let mut at = [rows[0]; 4];
            for (at, row) in at.iter_mut().zip(rows) {
                *at = row.wrapping_add(i * LANES);
            }
            // SAFETY: the caller vouches for the rows.
            *vector = unsafe { Self::load_quads_partial(at, ROWS, bytes - i * LANES) };
        }
        vectors
    }

    /// Stores the integers nearest to the floats of `N` [arranged](Self::arrange) vectors, plus `zero`, limited to unsigned
    /// bytes: the first `n`. Ties go to even.
    ///
    /// # Safety
    /// `n` bytes are writable at `to`.
    #[inline(always)]
    unsafe fn store_arranged<const N: usize>(values: [Self; N], zero: u8, to: *mut u8, n: usize) {
        let mut four = [Self::splat(0.0); 4];
        four[..N].copy_from_slice(&values);
        // SAFETY: the caller vouches for the bytes.
        unsafe { Self::store_saturated::<4>(four, zero, &[to], n) };
    }

    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self / other`.
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// Nearest integer, ties to even.
    fn round(self) -> Self;

    /// `self > other ? self : other`: gives `other` if either is NaN.
    fn max(self, other: Self) -> Self;
    /// `self < other ? self : other`: gives `other` if either is NaN.
    fn min(self, other: Self) -> Self;

    /// `self < other`, false for NaN.
    fn less(self, other: Self) -> Self::Mask;
    /// `self == other`, false for NaN.
    fn equal(self, other: Self) -> Self::Mask;
    /// Lanes of `yes` where `mask` is true, of `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// Whether any lane is true.
    fn any(mask: Self::Mask) -> bool;

    /// Bitwise and.
    fn and(self, other: Self) -> Self;
    /// Bitwise or.
    fn or(self, other: Self) -> Self;
    /// Bitwise exclusive or.
    fn xor(self, other: Self) -> Self;
    /// Integer addition, wrapping.
    fn add_int(self, other: Self) -> Self;
    /// Integer subtraction, wrapping.
    fn sub_int(self, other: Self) -> Self;
    /// Integer shift left.
    fn shift_left<const N: i32>(self) -> Self;
    /// Arithmetic integer shift right.
    fn shift_right<const N: i32>(self) -> Self;
    /// Integer product, wrapping.
    #[inline(always)]
    fn mul_int(self, other: Self) -> Self {
        let (a, b) = (self.to_array(), other.to_array());
        Self::from_array(std::array::from_fn(|i| f32::from_bits(a[i].to_bits().wrapping_mul(b[i].to_bits()))))
    }
    /// The integer that an integral float below 2^31 in magnitude is; anything for other values.
    fn to_int(self) -> Self;
    /// The integer nearest to a float below 2^31 in magnitude, ties to even; anything for other values.
    #[inline(always)]
    fn round_to_int(self) -> Self {
        self.round().to_int()
    }
    /// The float nearest to an integer.
    fn int_to_float(self) -> Self;
    /// The signed integer of four bits that the low bits of each integer are, as a float.
    #[inline(always)]
    fn low_half_to_float(self) -> Self {
        self.shift_left::<28>().shift_right::<28>().int_to_float()
    }

    /// The lanes.
    fn to_array(self) -> [f32; LANES];
    /// A vector of these lanes.
    fn from_array(lanes: [f32; LANES]) -> Self;

    /// Transposes a 16 by 16 matrix in place.
    #[inline(always)]
    fn transpose(rows: &mut [Self; LANES]) {
        let from = rows.map(Self::to_array);
        for (j, row) in rows.iter_mut().enumerate() {
            *row = Self::from_array(std::array::from_fn(|i| from[i][j]));
        }
    }

    /// All lanes the integer `bits`.
    #[inline(always)]
    fn splat_bits(bits: u32) -> Self {
        Self::splat(f32::from_bits(bits))
    }

    /// The sum of all lanes: lane `i` with `i + 8`, then 4, 2, 1.
    #[inline(always)]
    fn sum(self) -> f32 {
        tree(self.to_array(), |a, b| a + b)
    }

    /// The greatest lane; NaN if any lane is.
    #[inline(always)]
    fn greatest(self) -> f32 {
        tree(self.to_array(), |a, b| if a > b || a.is_nan() { a } else { b })
    }
}

/// Copies the first `n` bytes of each part of `TOGETHER` vectors to the pointer of its number.
///
/// # Safety
/// `n` bytes are writable at each pointer.
#[inline(always)]
unsafe fn store_parts<const TOGETHER: usize>(bytes: &[u8; 4 * LANES], to: &[*mut u8], n: usize) {
    for (part, &to) in bytes.chunks_exact(TOGETHER * LANES).zip(to) {
        // SAFETY: a part has at least `n` bytes; the caller vouches for the pointers.
        unsafe {
            match n == TOGETHER * LANES {
                true => std::ptr::copy_nonoverlapping(part.as_ptr(), to, TOGETHER * LANES),
                false => std::ptr::copy_nonoverlapping(part.as_ptr(), to, n),
            }
        }
    }
}

/// Combines lane `i` with `i + 8`, then 4, 2, 1.
#[inline(always)]
fn tree(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}

/// `$body` for the vector type `$V` of an [`Isa`](crate::isa::Isa). One that this architecture lacks gets the portable type.
macro_rules! for_isa {
    ($isa:expr, $V:ident => $body:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Amx | $crate::isa::Isa::Avx512 => {
                type $V = $crate::vector::Avx512;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::isa::Isa::Avx2 => {
                type $V = $crate::vector::Avx2;
                $body
            }
            #[cfg(target_arch = "aarch64")]
            $crate::isa::Isa::Neon => {
                type $V = $crate::vector::Neon;
                $body
            }
            _ => {
                type $V = $crate::vector::Portable;
                $body
            }
        }
    };
}
pub(crate) use for_isa;
