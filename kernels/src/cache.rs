//! Sizes of this machine's data caches, from which kernels choose their blocks. Blocks never change a result.

use std::sync::OnceLock;

/// Bytes of the caches that one core has to itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caches {
    /// Second level.
    pub(crate) l2: usize,
}

/// The caches of this machine.
pub(crate) fn caches() -> Caches {
    static CACHES: OnceLock<Caches> = OnceLock::new();
    *CACHES.get_or_init(|| Caches { l2: level_bytes(2).unwrap_or(512 << 10).clamp(128 << 10, 4 << 20) })
}

/// Bytes of the data cache of a level, from the processor: leaf 4 of CPUID on Intel, 0x8000001d on AMD; both have the same fields.
#[cfg(target_arch = "x86_64")]
pub(crate) fn level_bytes(level: u32) -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    let amd = __cpuid(0).ecx == u32::from_le_bytes(*b"cAMD");
    let leaf = if amd { 0x8000_001d } else { 4 };
    let max = if amd { __cpuid(0x8000_0000).eax } else { __cpuid(0).eax };
    if max < leaf {
        return None;
    }
    (0..8).map(|i| __cpuid_count(leaf, i)).take_while(|r| r.eax & 31 != 0).find(|r| r.eax >> 5 & 7 == level).map(|r| {
        let field = |low: u32, bits: u32| (r.ebx >> low & ((1 << bits) - 1)) as usize + 1;
        field(22, 10) * field(12, 10) * field(0, 12) * (r.ecx as usize + 1)
    })
}

/// Bytes of the data cache of a level, from the system, where the processor does not say.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn level_bytes(level: u32) -> Option<usize> {
    let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size")).ok()?;
    let (number, unit) = text.trim().split_at(text.trim().len().checked_sub(1)?);
    let scale = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    Some(number.parse::<usize>().ok()?.saturating_mul(scale))
}

/// Asks for the line at `at` to be brought near: to the first-level cache.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and takes any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}

/// Asks for the line at `at` to be brought to the second-level cache.
#[inline(always)]
pub(crate) fn prefetch_l2<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and takes any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    let _ = at;
}
