//! Device memory: allocations with room between them, bytes that know whether they were written, and what a launch
//! touches of them.
//!
//! Words are atomics, so blocks that run in parallel may touch one allocation; whether they race is found out afterwards
//! from bitmaps, and does not depend on timing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Where the first allocation begins.
const START: u64 = 0x7000_0000_0000;
/// Alignment of allocations.
const ALIGNMENT: u64 = 512;
/// Bytes between allocations that belong to none.
const GAP: u64 = 4096;

/// Why an access to device memory is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemoryError {
    /// The bytes are not all of one allocation.
    #[error("{bytes} bytes at {address:#x} are not in an allocation")]
    OutOfBounds {
        /// The address.
        address: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// No allocation begins there.
    #[error("no allocation begins at {0:#x}")]
    NotAllocated(u64),
    /// The host has no such amount of memory.
    #[error("out of memory: {0} bytes")]
    OutOfMemory(u64),
}

/// The memory of a device.
#[derive(Debug, Default)]
pub struct Memory {
    allocations: BTreeMap<u64, Allocation>,
    next: u64,
}

#[derive(Debug)]
pub(crate) struct Allocation {
    base: u64,
    bytes: u64,
    words: Vec<AtomicU32>,
    /// A bit per byte: whether it was written.
    written: Vec<AtomicU32>,
}

impl Memory {
    /// No allocations.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// The address of `bytes` new bytes, which nobody has written. At least one is reserved.
    ///
    /// # Errors
    /// If the host has not as many.
    pub fn allocate(&mut self, bytes: u64) -> Result<u64, MemoryError> {
        let bytes = bytes.max(1);
        let base = self.next.max(START);
        let words = zeros(bytes.div_ceil(4)).ok_or(MemoryError::OutOfMemory(bytes))?;
        let written = zeros(bytes.div_ceil(32)).ok_or(MemoryError::OutOfMemory(bytes))?;
        self.next = (base + bytes + GAP).next_multiple_of(ALIGNMENT);
        self.allocations.insert(base, Allocation { base, bytes, words, written });
        Ok(base)
    }

    /// Gives an allocation back. Its addresses are not used again.
    ///
    /// # Errors
    /// If none begins there.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        self.allocations.remove(&address).map(|_| ()).ok_or(MemoryError::NotAllocated(address))
    }

    /// Bytes that are allocated.
    pub fn allocated(&self) -> u64 {
        self.allocations.values().map(|allocation| allocation.bytes).sum()
    }

    /// Copies bytes from the host.
    ///
    /// # Errors
    /// If they are not all of one allocation.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let (allocation, at) = self.find(address, bytes.len() as u64)?;
        bytes.iter().enumerate().for_each(|(i, &byte)| allocation.store(at + i, 1, byte.into()));
        Ok(())
    }

    /// Copies bytes to the host; those that nobody has written are arbitrary.
    ///
    /// # Errors
    /// If they are not all of one allocation.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let (allocation, at) = self.find(address, bytes.len() as u64)?;
        bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = allocation.load(at + i, 1) as u8);
        Ok(())
    }

    /// The allocation that holds all of `bytes` bytes, and where in it they begin.
    pub(crate) fn find(&self, address: u64, bytes: u64) -> Result<(&Allocation, usize), MemoryError> {
        let found = self.allocations.range(..=address).next_back().map(|(_, allocation)| allocation);
        let found = found.filter(|a| address - a.base <= a.bytes && bytes <= a.bytes - (address - a.base));
        found.map(|a| (a, (address - a.base) as usize)).ok_or(MemoryError::OutOfBounds { address, bytes })
    }
}

fn zeros(n: u64) -> Option<Vec<AtomicU32>> {
    let n = usize::try_from(n).ok()?;
    let mut words = Vec::new();
    words.try_reserve_exact(n).ok()?;
    words.resize_with(n, || AtomicU32::new(0));
    Some(words)
}

impl Allocation {
    /// Whether the allocation holds the bytes, and where.
    pub(crate) fn offset(&self, address: u64, bytes: u64) -> Option<usize> {
        let at = address.checked_sub(self.base)?;
        (at.checked_add(bytes)? <= self.bytes).then_some(at as usize)
    }

    /// A number of 1, 2 or 4 bytes at a multiple of its size.
    pub(crate) fn load(&self, at: usize, bytes: usize) -> u32 {
        let word = self.words[at / 4].load(Relaxed) >> (at % 4 * 8);
        if bytes == 4 { word } else { word & ((1 << (bytes * 8)) - 1) }
    }

    /// Writes 1, 2 or 4 bytes at a multiple of their number.
    pub(crate) fn store(&self, at: usize, bytes: usize, value: u32) {
        let word = &self.words[at / 4];
        if bytes == 4 {
            word.store(value, Relaxed);
        } else {
            let shift = at % 4 * 8;
            let mask = ((1u32 << (bytes * 8)) - 1) << shift;
            let replaced = |old: u32| Some(old & !mask | value << shift & mask);
            let _ = word.fetch_update(Relaxed, Relaxed, replaced);
        }
        self.mark(at, bytes);
    }

    /// Replaces a word by what `update` makes of it; the old one.
    pub(crate) fn update(&self, at: usize, update: impl Fn(u32) -> u32) -> u32 {
        let old = self.words[at / 4].fetch_update(Relaxed, Relaxed, |old| Some(update(old)));
        self.mark(at, 4);
        old.unwrap_or_else(|old| old)
    }

    fn mark(&self, at: usize, bytes: usize) {
        let bits = ((1u32 << bytes) - 1) << (at % 32);
        let word = &self.written[at / 32];
        if word.load(Relaxed) & bits != bits {
            word.fetch_or(bits, Relaxed);
        }
    }

    /// Whether all of up to 16 bytes, at a multiple of their number, were written.
    pub(crate) fn is_written(&self, at: usize, bytes: usize) -> bool {
        let bits = ((1u32 << bytes) - 1) << (at % 32);
        self.written[at / 32].load(Relaxed) & bits == bits
    }
}

/// Bytes of a page of [`Touched`].
const PAGE: u64 = 4096;

/// Which bytes of a page were read and written, a bit each.
#[derive(Clone)]
struct Page {
    read: [u64; 64],
    written: [u64; 64],
}

const EMPTY: Page = Page { read: [0; 64], written: [0; 64] };

/// What a block, or a launch, has touched of device memory.
#[derive(Default)]
pub(crate) struct Touched {
    pages: Vec<(u64, Box<Page>)>,
    /// Where the page of a number is.
    places: HashMap<u64, usize>,
    /// The page that was touched last, which is mostly the next one too.
    last: Option<(u64, usize)>,
}

/// How memory is touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Touched {
    fn page(&mut self, number: u64) -> &mut Page {
        let place = match self.last {
            Some((last, place)) if last == number => place,
            _ => {
                let next = self.pages.len();
                let place = *self.places.entry(number).or_insert(next);
                if place == next {
                    self.pages.push((number, Box::new(EMPTY)));
                }
                self.last = Some((number, place));
                place
            }
        };
        &mut self.pages[place].1
    }

    /// Notes an access of up to 16 bytes at a multiple of their number; whether this has written one of them before.
    pub(crate) fn note(&mut self, address: u64, bytes: u32, access: Access) -> bool {
        let page = self.page(address / PAGE);
        let bits = ((1u64 << bytes) - 1) << (address % 64);
        let word = (address % PAGE / 64) as usize;
        let was_written = page.written[word] & bits != 0;
        match access {
            Access::Read => page.read[word] |= bits,
            Access::Write => page.written[word] |= bits,
        }
        was_written
    }

    /// Adds what another block has touched: the first address that one of the two has written and both have touched.
    pub(crate) fn merge(&mut self, other: Touched) -> Option<u64> {
        let mut conflict = None;
        for (number, theirs) in other.pages {
            let ours = self.page(number);
            for word in 0..64 {
                let (read, written) = (theirs.read[word], theirs.written[word]);
                let both = written & (ours.read[word] | ours.written[word]) | read & ours.written[word];
                if both != 0 {
                    let at = number * PAGE + word as u64 * 64 + u64::from(both.trailing_zeros());
                    conflict = Some(conflict.map_or(at, |first: u64| first.min(at)));
                }
                ours.read[word] |= read;
                ours.written[word] |= written;
            }
        }
        conflict
    }

    /// Numbers of distinct sectors of 32 bytes that were read and written.
    pub(crate) fn sectors(&self) -> (u64, u64) {
        let halves = |word: &u64| u64::from(word & 0xffff_ffff != 0) + u64::from(word >> 32 != 0);
        let count = |words: &[u64; 64]| words.iter().map(halves).sum::<u64>();
        let pages = self.pages.iter();
        pages.fold((0, 0), |(read, written), (_, page)| (read + count(&page.read), written + count(&page.written)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_have_room_between_them() {
        let mut memory = Memory::new();
        let (a, b) = (memory.allocate(5).unwrap(), memory.allocate(7).unwrap());
        assert!(b >= a + 4096);
        memory.write(a, b"hello").unwrap();
        let mut text = [0; 3];
        memory.read(a + 1, &mut text).unwrap();
        assert_eq!(&text, b"ell");
        assert_eq!(memory.write(a + 3, b"abc"), Err(MemoryError::OutOfBounds { address: a + 3, bytes: 3 }));
        memory.free(a).unwrap();
        assert!(memory.read(a, &mut text).is_err());
        assert_eq!(memory.allocated(), 7);
    }

    #[test]
    fn blocks_that_touch_the_same_bytes_conflict() {
        let touch = |accesses: &[(u64, Access)]| {
            let mut touched = Touched::default();
            accesses.iter().for_each(|&(at, access)| {
                touched.note(at, 4, access);
            });
            touched
        };
        let mut launch = touch(&[(4096, Access::Write), (8192, Access::Read)]);
        assert_eq!(launch.merge(touch(&[(4100, Access::Write), (8192, Access::Read)])), None);
        assert_eq!(launch.merge(touch(&[(8192, Access::Write), (4100, Access::Read)])), Some(4100));
        assert_eq!(launch.sectors(), (2, 2));
    }
}
