//! What this machine does at most: multiply-adds on registers, and bytes read from each level of memory.
//!
//! No kernel depends on it. Whoever measures kernels holds their times against it, measured at about the same time, as what
//! else runs on a machine takes from both.

use crate::cache::level_bytes;
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::vector::amx;
use crate::vector::{Dot, DotTask, LANES, Task, Vector, dots, for_isa};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The most that a number of threads do together.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// How many threads.
    pub threads: usize,
    /// f32 operations per second, two for each multiply-add.
    pub float_operations: f64,
    /// The same of products of bytes that are summed in 32 bits.
    pub integer_operations: f64,
    /// Levels of memory, the smallest first; the last holds everything.
    pub levels: Vec<Level>,
}

/// A level of memory.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Level {
    /// L2, L3 or memory.
    pub name: &'static str,
    /// Bytes that all threads together have in it; `None` of the last level.
    pub bytes: Option<usize>,
    /// Bytes read per second by all threads together.
    pub rate: f64,
}

impl Limits {
    /// The level that holds `bytes`.
    pub fn level_of(&self, bytes: u64) -> &Level {
        let fits = |level: &&Level| level.bytes.is_none_or(|size| bytes <= size as u64);
        self.levels.iter().find(fits).expect("the last level holds everything")
    }
}

/// How long threads work before a rate is taken, and how often; the greatest rate counts.
const WINDOW: Duration = Duration::from_millis(15);
const WINDOWS: usize = 4;

/// The largest array that is read from memory, of all threads.
const LARGEST: usize = 512 << 20;

/// Measures what `threads` threads do with the instructions of `isa`, which this machine has, in about half a second.
pub fn measure(isa: Isa, threads: usize) -> Limits {
    assert!(isa.is_supported(), "this machine has no {}", isa.name());
    let (l2, l3) = (level_bytes(2).unwrap_or(512 << 10), level_bytes(3));
    let float_operations = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => rate(threads, &|_| piece_chains()),
        isa => rate(threads, &|_| for_isa!(isa, V => float_chains::<V>())),
    };
    let integer_operations = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx | Isa::Avx512 if amx::is_available() => rate(threads, &|_| tile_chains()),
        isa => rate(threads, &|_| dots!(isa, D => integer_chains::<D>())),
    };
    let mut levels = vec![level("L2", Some(l2 * threads), l2 / 2, isa, threads)];
    if let Some(l3) = l3 {
        // Far from its end: others use it too.
        let part = (l3 / 4 / threads).clamp(2 * l2, 16 << 20);
        levels.push(level("L3", Some(l3), part, isa, threads));
    }
    let far = (2 * l3.unwrap_or(16 * l2)).clamp(64 << 20, LARGEST) / threads;
    levels.push(level("memory", None, far, isa, threads));
    Limits { threads, float_operations, integer_operations, levels }
}

/// The rate at which each thread reads `part` bytes of its own.
fn level(name: &'static str, bytes: Option<usize>, part: usize, isa: Isa, threads: usize) -> Level {
    // Not zeros, which the system may keep in one page.
    let arrays: Vec<Vec<f32>> = (0..threads).map(|_| vec![1.0; part / 4 / LANES * LANES]).collect();
    let read = |thread: usize| for_isa!(isa, V => read::<V>(&arrays[thread]));
    Level { name, bytes, rate: rate(threads, &read) }
}

/// What `body` does per second on all threads at once; it gets the thread's number and returns how much it did.
fn rate(threads: usize, body: &(dyn Fn(usize) -> f64 + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let work = |thread: usize| {
        body(thread);
        let mut rates = [0.0; WINDOWS];
        for rate in &mut rates {
            barrier.wait();
            let (start, mut done) = (Instant::now(), 0.0);
            while start.elapsed() < WINDOW {
                done += body(thread);
            }
            *rate = done / start.elapsed().as_secs_f64();
        }
        rates
    };
    let rates: Vec<[f64; WINDOWS]> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let own = work(0);
        others.into_iter().filter_map(|thread| thread.join().ok()).chain([own]).collect()
    });
    let together = |window: usize| rates.iter().map(|rates| rates[window]).sum::<f64>();
    (0..WINDOWS).map(together).fold(0.0, f64::max)
}

/// Steps of the chains in one call.
const STEPS: usize = 1 << 12;

/// Chains that are enough to hide the latency of a multiply-add, and whose sums stay in registers.
const FEW: usize = 6;
const MANY: usize = 12;

fn float_chains<V: Vector>() -> f64 {
    // SAFETY: the machine has the instruction set.
    unsafe { if V::REGISTERS > MANY { V::vectorize(FloatChains::<MANY>) } else { V::vectorize(FloatChains::<FEW>) } }
}

struct FloatChains<const N: usize>;

impl<const N: usize> Task for FloatChains<N> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<V: Vector>(self) -> f64 {
        let (factor, mut sums) = (V::splat(black_box(0.5)), [V::splat(1.0); N]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, factor);
            }
        }
        black_box(sums.into_iter().fold(0.0, |all, sum| all + sum.sum()));
        (2 * STEPS * N * LANES) as f64
    }
}

/// Products of f32 from pieces that stay in the first-level cache.
#[cfg(target_arch = "x86_64")]
fn piece_chains() -> f64 {
    const STEPS: usize = 2;
    #[repr(align(64))]
    struct Block([u8; STEPS * amx::STEP_BYTES]);
    #[repr(align(64))]
    struct Sums([f32; 4 * amx::TILE * amx::TILE]);
    let (a, b) = (Block([0; _]), Block([0; _]));
    let mut sums = Sums([0.0; _]);
    let product = amx::Pieces {
        a: a.0.as_ptr(),
        b: b.0.as_ptr(),
        n_steps: STEPS,
        sums: sums.0.as_mut_ptr(),
        ahead: a.0.as_ptr(),
        ahead_lines: 0,
    };
    const PRODUCTS: usize = 64;
    // SAFETY: the machine has the unit, and this thread uses it nowhere else meanwhile; the blocks have these steps.
    unsafe {
        let _shapes = amx::Shapes::new([amx::TILE; 2], amx::TILE);
        (0..PRODUCTS).for_each(|_| amx::pieces(&product));
    }
    black_box(&sums.0);
    (2 * PRODUCTS * STEPS * amx::STEP * 4 * amx::TILE * amx::TILE) as f64
}

fn integer_chains<D: Dot>() -> f64 {
    // SAFETY: the machine has the instructions.
    unsafe {
        match <D::Vector as Vector>::REGISTERS > MANY {
            true => D::vectorize(IntegerChains::<MANY>),
            false => D::vectorize(IntegerChains::<FEW>),
        }
    }
}

struct IntegerChains<const N: usize>;

impl<const N: usize> DotTask for IntegerChains<N> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<D: Dot>(self) -> f64 {
        let bytes = D::Vector::splat_bits(black_box(0x0102_0304));
        let mut sums = [D::Vector::splat_bits(0); N];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = D::dot(*sum, bytes, bytes);
            }
        }
        black_box(sums.into_iter().fold(0.0, |all, sum| all + sum.sum()));
        (2 * 4 * STEPS * N * LANES) as f64
    }
}

/// Products of tiles that are read from the first-level cache.
#[cfg(target_arch = "x86_64")]
fn tile_chains() -> f64 {
    const CHUNKS: usize = 256;
    #[repr(align(64))]
    struct Tiles([[u8; amx::ROW]; 2 * amx::TILE]);
    let (tiles, mut sums) = (Tiles([[1; amx::ROW]; 2 * amx::TILE]), [0i32; 4 * amx::TILE * amx::TILE]);
    let a = amx::Strided { first: tiles.0.as_ptr().cast(), stride: amx::ROW as isize };
    let chunks = [amx::Chunk { a: [a, a], b: 0 }; CHUNKS];
    let product = amx::Product {
        chunks: chunks.as_ptr(),
        n_chunks: CHUNKS,
        b: tiles.0.as_ptr().cast(),
        b_panel: amx::TILE * amx::ROW,
        start: sums.as_ptr(),
        sums: [sums.as_mut_ptr(), sums[2 * amx::TILE * amx::TILE..].as_mut_ptr()],
        sums_stride: 2 * amx::ROW,
        ahead: std::ptr::null(),
        ahead_lines: 0,
    };
    // SAFETY: the machine has the unit, of which this is the only use; the pointers cover 16 rows and 2 panels.
    unsafe {
        let _shapes = amx::Shapes::new([amx::TILE; 2], amx::TILE);
        amx::two_by_two(black_box(&product));
    }
    (2 * 4 * CHUNKS * amx::TILE * amx::TILE * amx::ROW) as f64
}

fn read<V: Vector>(array: &[f32]) -> f64 {
    // SAFETY: the machine has the instruction set.
    unsafe { V::vectorize(Read(black_box(array))) }
}

struct Read<'a>(&'a [f32]);

impl Task for Read<'_> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<V: Vector>(self) -> f64 {
        const WIDTH: usize = 4;
        let mut sums = [V::splat(0.0); WIDTH];
        for chunk in self.0.chunks_exact(WIDTH * LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the chunk has as many vectors.
                *sum = sum.max(unsafe { V::load(chunk.as_ptr().add(i * LANES)) });
            }
        }
        black_box(sums.into_iter().fold(0.0, |all, sum| all + sum.sum()));
        size_of_val(self.0) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_positive_and_levels_hold_ever_more() {
        let limits = measure(Isa::detect(), 1);
        assert!(limits.float_operations > 0.0 && limits.integer_operations > 0.0);
        assert!(limits.levels.iter().all(|level| level.rate > 0.0));
        assert_eq!(limits.level_of(1).name, "L2");
        assert_eq!(limits.level_of(u64::MAX).name, "memory");
    }
}
