//! Intel's matrix unit (AMX): products of tiles of bytes, summed in 32-bit integers, and of bf16, summed in f32.
//!
//! Eight tile registers have up to 16 rows of up to 64 bytes each. The compiler knows nothing of them: it never uses them
//! itself, so they change in the blocks of assembly here alone, and the system keeps them for each thread as it does other
//! registers. What they hold lives no longer than one such block; only their shapes outlive it, until [`Shapes`] is dropped.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Rows of a tile register, and quads of bytes in one.
pub(crate) const TILE: usize = 16;
/// Bytes of a row of a tile register.
pub(crate) const ROW: usize = 64;

/// What `cpuid` says of products of bytes, `amx-int8`.
const INT8: u32 = 1 << 25;
/// What `cpuid` says of products of bf16, `amx-bf16`.
const BF16: u32 = 1 << 22;

/// Whether this process may use the matrix unit for bytes, beside AVX-512 VNNI.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| std::is_x86_feature_detected!("avx512vnni") && is_present(INT8) && is_permitted())
}

/// Whether this process may use the matrix unit for bf16.
pub(crate) fn has_bf16() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| is_present(BF16) && is_permitted())
}

/// Whether the processor has `amx-tile` and these products, and the system keeps tiles.
fn is_present(products: u32) -> bool {
    const TILE: u32 = 1 << 24;
    const TILE_STATE: u64 = 1 << 17 | 1 << 18;
    #[target_feature(enable = "xsave")]
    unsafe fn kept_state() -> u64 {
        // SAFETY: the caller found that the system has enabled the instruction.
        unsafe { _xgetbv(0) }
    }
    let has_xgetbv = __cpuid(1).ecx & 1 << 27 != 0;
    // SAFETY: the instruction is there.
    let keeps_tiles = || has_xgetbv && unsafe { kept_state() } & TILE_STATE == TILE_STATE;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (TILE | products) == TILE | products && keeps_tiles()
}

/// Asks Linux for tiles, for all threads of the process. Each thread's context grows by 8 KiB when it first uses them.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let result: isize;
    // SAFETY: the call changes what instructions the process may use, and no memory; `syscall` overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Other systems have ways of their own.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The shapes of this thread's tile registers, for products of one or two tiles of rows; dropped, they are free again.
pub(crate) struct Shapes {
    /// The registers belong to the thread.
    thread: PhantomData<*const ()>,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Palette {
    number: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Shapes for tiles of `rows[0]` and, if that is not 0, `rows[1]` rows, which meet `quads` quads of K at a time; each is
    /// at most 16, and `rows[0]` and `quads` are not 0.
    ///
    /// # Safety
    /// [`is_available`], and no other shapes of this thread are in use.
    pub(crate) unsafe fn new(rows: [usize; 2], quads: usize) -> Shapes {
        let [first, second] = [rows[0], if rows[1] == 0 { rows[0] } else { rows[1] }].map(|rows| rows as u8);
        let (quads, row) = (quads as u8, ROW as u16);
        let mut palette = Palette { number: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        // Sums, then rows of A, then panels of B.
        palette.rows[..8].copy_from_slice(&[first, first, second, second, first, second, quads, quads]);
        palette.row_bytes[..8].copy_from_slice(&[row; 8]);
        palette.row_bytes[4..6].fill(4 * u16::from(quads));
        // SAFETY: the caller vouches for the instruction; the shapes are within the registers.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const palette, options(nostack, readonly)) };
        Shapes { thread: PhantomData }
    }
}

impl Drop for Shapes {
    fn drop(&mut self) {
        // SAFETY: who made the shapes vouched for the instructions.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Rows that are a number of bytes apart.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Strided {
    pub(crate) first: *const u8,
    pub(crate) stride: isize,
}

/// As much of K as a tile register holds: 64 bytes, or fewer if K has.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Chunk {
    /// The rows of A of both tiles.
    pub(crate) a: [Strided; 2],
    /// Where the chunk begins in a panel of B, in bytes.
    pub(crate) b: usize,
}

/// A product: the sums of one or two tiles of rows with some panels of B.
#[repr(C)]
pub(crate) struct Product {
    pub(crate) chunks: *const Chunk,
    pub(crate) n_chunks: usize,
    /// The first panel of B.
    pub(crate) b: *const u8,
    /// Bytes between panels.
    pub(crate) b_panel: usize,
    /// What each column's sums start from.
    pub(crate) start: *const i32,
    /// Where the sums of each tile's rows go: rows of all panels, one after the other.
    pub(crate) sums: [*mut i32; 2],
    /// Bytes of such a row.
    pub(crate) sums_stride: usize,
    /// Memory to bring near, and how many lines of it with each chunk.
    pub(crate) ahead: *const u8,
    pub(crate) ahead_lines: usize,
}

/// A product of two tiles of rows with two panels of f32, each number of which is the sum of three of bf16, its pieces. A
/// step is [`STEP`] elements of K; it has of A, as of B, [`PIECES`] times two tiles, the greatest pieces first, each of as many
/// rows as [`Shapes`] says, [`ROW`] bytes apart: of a row, or a column, its elements `k` and `k + 16` are neighbours.
#[repr(C)]
pub(crate) struct Pieces {
    pub(crate) a: *const u8,
    pub(crate) b: *const u8,
    pub(crate) n_steps: usize,
    /// Where the sums go: rows of two panels; those of the second tile from the 16th on.
    pub(crate) sums: *mut f32,
    /// Memory to bring near, and how many lines of it with each step.
    pub(crate) ahead: *const u8,
    pub(crate) ahead_lines: usize,
}

/// Elements of K of a step of [`pieces`].
pub(crate) const STEP: usize = 32;
/// Numbers of bf16 that an f32 is the sum of.
pub(crate) const PIECES: usize = 3;
/// Bytes of a tile register.
pub(crate) const TILE_BYTES: usize = TILE * ROW;
/// Bytes of a step of two tiles.
pub(crate) const STEP_BYTES: usize = PIECES * 2 * TILE_BYTES;

/// The sums, from 0, of the products of pieces but for the three least: with pieces numbered from 0, those whose numbers add
/// up to at most 2.
///
/// # Safety
/// [`Shapes`] of the rows, with 16 quads, are in use, and the pointers cover the steps and the sums.
pub(crate) unsafe fn pieces(product: &Pieces) {
    const { assert!(STEP_BYTES == 6144) };
    macro_rules! products {
        () => {
            "tdpbf16ps tmm0, tmm4, tmm6
            tdpbf16ps tmm1, tmm4, tmm7
            tdpbf16ps tmm2, tmm5, tmm6
            tdpbf16ps tmm3, tmm5, tmm7"
        };
    }
    // SAFETY: the caller vouches for the instructions and the pointers. Tiles are loaded, used and stored within the block.
    unsafe {
        asm!(
            "mov {a}, [{product}]",
            "mov {b}, [{product} + 8]",
            "mov {n}, [{product} + 16]",
            "mov {ahead}, [{product} + 32]",
            "mov {lines}, [{product} + 40]",
            "mov {l:e}, 64",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {l} + 4096]",
            "tileloadd tmm5, [{a} + {l} + 5120]",
            "tileloadd tmm6, [{b} + {l}]",
            "tileloadd tmm7, [{b} + {l} + 1024]",
            products!(),
            "tileloadd tmm4, [{a} + {l} + 2048]",
            "tileloadd tmm5, [{a} + {l} + 3072]",
            products!(),
            "tileloadd tmm6, [{b} + {l} + 2048]",
            "tileloadd tmm7, [{b} + {l} + 3072]",
            products!(),
            "tileloadd tmm4, [{a} + {l}]",
            "tileloadd tmm5, [{a} + {l} + 1024]",
            products!(),
            "tileloadd tmm6, [{b} + {l} + 4096]",
            "tileloadd tmm7, [{b} + {l} + 5120]",
            products!(),
            "tileloadd tmm6, [{b} + {l}]",
            "tileloadd tmm7, [{b} + {l} + 1024]",
            products!(),
            "mov {s}, {lines}",
            "test {s}, {s}",
            "jz 4f",
            "3:",
            "prefetcht1 [{ahead}]",
            "add {ahead}, 64",
            "dec {s}",
            "jnz 3b",
            "4:",
            "add {a}, 6144",
            "add {b}, 6144",
            "dec {n}",
            "jnz 2b",
            "mov {a}, [{product} + 24]",
            "mov {l:e}, 128",
            "tilestored [{a} + {l}], tmm0",
            "tilestored [{a} + {l} + 64], tmm1",
            "tilestored [{a} + {l} + 2048], tmm2",
            "tilestored [{a} + {l} + 2112], tmm3",
            product = in(reg) product,
            a = out(reg) _,
            b = out(reg) _,
            n = out(reg) _,
            l = out(reg) _,
            ahead = out(reg) _,
            lines = out(reg) _,
            s = out(reg) _,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}

/// Defines products of a number of tiles of rows by a number of panels: what loads the sums, what adds a chunk to them, and
/// what stores them. In these `t` and `s` are free; `e` is the chunk, `b` and `bp` are the first panel and the distance to
/// the next, `l` is the distance of a panel's quads. Tiles 0 to 3 are sums, 4 and 5 rows of A, 6 and 7 panels of B.
macro_rules! product {
    ($name:ident, [$($load:literal)*], [$($step:literal)*], [$($store:literal)*]) => {
        /// # Safety
        /// [`Shapes`] of the product's rows are in use, and its pointers cover them.
        pub(crate) unsafe fn $name(product: &Product) {
            // SAFETY: the caller vouches for the instructions and the pointers. Tiles are loaded, used and stored within
            // the block.
            unsafe {
                asm!(
                    "mov {t}, [{product} + 32]",
                    "xor {s:e}, {s:e}",
                    $($load,)*
                    "mov {e}, [{product}]",
                    "mov {n}, [{product} + 8]",
                    "mov {b}, [{product} + 16]",
                    "mov {bp}, [{product} + 24]",
                    "mov {ahead}, [{product} + 64]",
                    "mov {lines}, [{product} + 72]",
                    "mov {l:e}, 64",
                    "2:",
                    $($step,)*
                    "mov {s}, {lines}",
                    "test {s}, {s}",
                    "jz 4f",
                    "3:",
                    "prefetcht1 [{ahead}]",
                    "add {ahead}, 64",
                    "dec {s}",
                    "jnz 3b",
                    "4:",
                    "add {e}, 40",
                    "dec {n}",
                    "jnz 2b",
                    "mov {t}, [{product} + 40]",
                    "mov {s}, [{product} + 56]",
                    $($store,)*
                    product = in(reg) product,
                    e = out(reg) _,
                    n = out(reg) _,
                    b = out(reg) _,
                    bp = out(reg) _,
                    l = out(reg) _,
                    ahead = out(reg) _,
                    lines = out(reg) _,
                    t = out(reg) _,
                    s = out(reg) _,
                    out("tmm0") _,
                    out("tmm1") _,
                    out("tmm2") _,
                    out("tmm3") _,
                    out("tmm4") _,
                    out("tmm5") _,
                    out("tmm6") _,
                    out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

product! {
    two_by_two,
    ["tileloadd tmm0, [{t} + {s}]" "tileloadd tmm2, [{t} + {s}]" "tileloadd tmm1, [{t} + {s} + 64]"
        "tileloadd tmm3, [{t} + {s} + 64]"],
    ["mov {t}, [{e} + 32]" "add {t}, {b}" "tileloadd tmm6, [{t} + {l}]" "add {t}, {bp}" "tileloadd tmm7, [{t} + {l}]"
        "mov {t}, [{e}]" "mov {s}, [{e} + 8]" "tileloadd tmm4, [{t} + {s}]"
        "tdpbusd tmm0, tmm4, tmm6" "tdpbusd tmm1, tmm4, tmm7"
        "mov {t}, [{e} + 16]" "mov {s}, [{e} + 24]" "tileloadd tmm5, [{t} + {s}]"
        "tdpbusd tmm2, tmm5, tmm6" "tdpbusd tmm3, tmm5, tmm7"],
    ["tilestored [{t} + {s}], tmm0" "tilestored [{t} + {s} + 64], tmm1" "mov {t}, [{product} + 48]"
        "tilestored [{t} + {s}], tmm2" "tilestored [{t} + {s} + 64], tmm3"]
}

product! {
    two_by_one,
    ["tileloadd tmm0, [{t} + {s}]" "tileloadd tmm2, [{t} + {s}]"],
    ["mov {t}, [{e} + 32]" "add {t}, {b}" "tileloadd tmm6, [{t} + {l}]"
        "mov {t}, [{e}]" "mov {s}, [{e} + 8]" "tileloadd tmm4, [{t} + {s}]" "tdpbusd tmm0, tmm4, tmm6"
        "mov {t}, [{e} + 16]" "mov {s}, [{e} + 24]" "tileloadd tmm5, [{t} + {s}]" "tdpbusd tmm2, tmm5, tmm6"],
    ["tilestored [{t} + {s}], tmm0" "mov {t}, [{product} + 48]" "tilestored [{t} + {s}], tmm2"]
}

product! {
    one_by_four,
    ["tileloadd tmm0, [{t} + {s}]" "tileloadd tmm1, [{t} + {s} + 64]" "tileloadd tmm2, [{t} + {s} + 128]"
        "tileloadd tmm3, [{t} + {s} + 192]"],
    ["mov {t}, [{e}]" "mov {s}, [{e} + 8]" "tileloadd tmm4, [{t} + {s}]"
        "mov {t}, [{e} + 32]" "add {t}, {b}" "tileloadd tmm6, [{t} + {l}]" "tdpbusd tmm0, tmm4, tmm6"
        "add {t}, {bp}" "tileloadd tmm7, [{t} + {l}]" "tdpbusd tmm1, tmm4, tmm7"
        "add {t}, {bp}" "tileloadd tmm6, [{t} + {l}]" "tdpbusd tmm2, tmm4, tmm6"
        "add {t}, {bp}" "tileloadd tmm7, [{t} + {l}]" "tdpbusd tmm3, tmm4, tmm7"],
    ["tilestored [{t} + {s}], tmm0" "tilestored [{t} + {s} + 64], tmm1" "tilestored [{t} + {s} + 128], tmm2"
        "tilestored [{t} + {s} + 192], tmm3"]
}

product! {
    one_by_two,
    ["tileloadd tmm0, [{t} + {s}]" "tileloadd tmm1, [{t} + {s} + 64]"],
    ["mov {t}, [{e}]" "mov {s}, [{e} + 8]" "tileloadd tmm4, [{t} + {s}]"
        "mov {t}, [{e} + 32]" "add {t}, {b}" "tileloadd tmm6, [{t} + {l}]" "tdpbusd tmm0, tmm4, tmm6"
        "add {t}, {bp}" "tileloadd tmm7, [{t} + {l}]" "tdpbusd tmm1, tmm4, tmm7"],
    ["tilestored [{t} + {s}], tmm0" "tilestored [{t} + {s} + 64], tmm1"]
}

product! {
    one_by_one,
    ["tileloadd tmm0, [{t} + {s}]"],
    ["mov {t}, [{e}]" "mov {s}, [{e} + 8]" "tileloadd tmm4, [{t} + {s}]"
        "mov {t}, [{e} + 32]" "add {t}, {b}" "tileloadd tmm6, [{t} + {l}]" "tdpbusd tmm0, tmm4, tmm6"],
    ["tilestored [{t} + {s}], tmm0"]
}
