//! Shared memory of a block, and who touched it when: races, copies in flight, reads of what nobody wrote.
//!
//! Time is a vector clock per warp (Lamport): warp `w` knows of another what happened up to a barrier that both passed.
//! Accesses are ordered if the later one's warp knows of the earlier one. Granules are words of 4 bytes; parts of a word
//! are told apart by masks.

use crate::fault::{FaultKind, Trap};

/// What each warp knows of each other: `known[w][v]`, where `known[w][w]` is its own time.
#[derive(Debug)]
pub(crate) struct Clocks {
    known: Vec<Vec<u32>>,
}

impl Clocks {
    pub(crate) fn new(n_warps: usize) -> Clocks {
        let of = |w| (0..n_warps).map(|v| u32::from(v == w)).collect();
        Clocks { known: (0..n_warps).map(of).collect() }
    }

    /// A warp's own time.
    pub(crate) fn now(&self, warp: usize) -> u32 {
        self.known[warp][warp]
    }

    /// All warps know of all others, and time goes on.
    pub(crate) fn synchronize(&mut self, warps: &[usize]) {
        let mut all = vec![0; self.known.len()];
        for &warp in warps {
            all.iter_mut().zip(&self.known[warp]).for_each(|(a, &b)| *a = (*a).max(b));
        }
        for &warp in warps {
            self.known[warp].copy_from_slice(&all);
            self.known[warp][warp] += 1;
        }
    }

    /// Lets a warp's time go on: what its lanes did before is ordered before what they do next.
    pub(crate) fn tick(&mut self, warp: usize) {
        self.known[warp][warp] += 1;
    }

    fn knows(&self, warp: usize, of: usize, time: u32) -> bool {
        self.known[warp][of] >= time
    }

    /// Whether `warp` knows what `of` did at `time`; a warp knows its own past before its last tick.
    pub(crate) fn is_after(&self, warp: usize, of: usize, time: u32) -> bool {
        if warp == of { time < self.known[warp][warp] } else { self.knows(warp, of, time) }
    }
}

/// Who and what wrote a word last.
#[derive(Clone, Copy, Default, Debug)]
struct Word {
    time: u32,
    warp: u8,
    /// The lane, or [`SEVERAL`].
    lane: u8,
    /// Bytes of that write.
    bytes: u8,
    /// Bytes that were written at all.
    written: u8,
    /// Asynchronous copies to it that have not landed.
    in_flight: u8,
    /// Products of warpgroups in flight that read it.
    reading: u16,
    /// Whether it was written since the writer's last proxy fence.
    unfenced: bool,
}

/// Several lanes wrote parts of a word at a time.
const SEVERAL: u8 = 0xff;

/// Who accesses memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) warp: usize,
    pub(crate) lane: u32,
}

/// The shared memory of a block.
#[derive(Debug)]
pub(crate) struct Shared {
    bytes: Vec<u8>,
    words: Vec<Word>,
    /// When each warp last read each word.
    reads: Vec<u32>,
    n_warps: usize,
    /// Words that each warp has written since its last proxy fence, if anybody reads by another proxy.
    unfenced: Option<Vec<Vec<usize>>>,
}

impl Shared {
    pub(crate) fn new(bytes: usize, n_warps: usize, has_proxies: bool) -> Shared {
        let n_words = bytes.div_ceil(4);
        // Noise: what nobody has written must not look like zeros.
        let noise = (0..bytes).map(|i| (i * 37 + 11) as u8).collect();
        let (words, reads) = (vec![Word::default(); n_words], vec![0; n_words * n_warps]);
        let unfenced = has_proxies.then(|| vec![Vec::new(); n_warps]);
        Shared { bytes: noise, words, reads, n_warps, unfenced }
    }

    /// Forgets all, for the next block.
    pub(crate) fn reset(&mut self) {
        self.words.fill(Word::default());
        self.reads.fill(0);
        self.unfenced.iter_mut().flatten().for_each(Vec::clear);
    }

    /// Checks an access's place: all bytes inside, at a multiple of their number.
    pub(crate) fn place(&self, who: Who, address: u64, bytes: usize) -> Result<usize, Trap> {
        let size = self.bytes.len();
        if !address.is_multiple_of(bytes as u64) {
            let message = format!("{bytes} bytes at {address:#x} of shared memory");
            return Err(Trap::new(FaultKind::Misaligned, who.lane, message));
        }
        match usize::try_from(address).ok().filter(|at| at.checked_add(bytes).is_some_and(|end| end <= size)) {
            Some(at) => Ok(at),
            None => {
                let message = format!("{bytes} bytes at {address:#x} of shared memory, which has {size}");
                Err(Trap::new(FaultKind::OutOfBounds, who.lane, message))
            }
        }
    }

    /// Reads bytes whose place was checked.
    pub(crate) fn read(&mut self, clocks: &Clocks, who: Who, at: usize, out: &mut [u8]) -> Result<(), Trap> {
        for (word, mask) in granules(at, out.len()) {
            let shadow = self.words[word];
            if shadow.in_flight > 0 {
                let message = format!("reads word {word} of shared memory, to which a copy has not been waited for");
                return Err(Trap::new(FaultKind::CopyInFlight, who.lane, message));
            }
            if shadow.written & mask != mask {
                let message = format!("reads byte {at} of shared memory, which nobody has written");
                return Err(Trap::new(FaultKind::Uninitialized, who.lane, message));
            }
            if shadow.bytes & mask != 0 {
                self.check(clocks, who, word, shadow, "reads")?;
            }
            self.reads[word * self.n_warps + who.warp] = clocks.now(who.warp);
        }
        out.copy_from_slice(&self.bytes[at..at + out.len()]);
        Ok(())
    }

    /// Reads bytes whose place was checked by the asynchronous proxy: nobody may write them before
    /// [`has_read`](Self::has_read).
    pub(crate) fn read_asynchronously(
        &mut self,
        clocks: &Clocks,
        who: Who,
        at: usize,
        out: &mut [u8],
    ) -> Result<(), Trap> {
        self.read(clocks, who, at, out)?;
        for (word, _) in granules(at, out.len()) {
            if self.words[word].unfenced {
                let message = format!("reads word {word} of shared memory, which was written without a proxy fence");
                return Err(Trap::new(FaultKind::Race, who.lane, message));
            }
            self.words[word].reading += 1;
        }
        Ok(())
    }

    /// Ends an asynchronous read.
    pub(crate) fn has_read(&mut self, clocks: &Clocks, warp: usize, at: usize, bytes: usize) {
        for (word, _) in granules(at, bytes) {
            self.words[word].reading = self.words[word].reading.saturating_sub(1);
            self.reads[word * self.n_warps + warp] = clocks.now(warp);
        }
    }

    /// Shows the asynchronous proxy what a warp has written.
    pub(crate) fn fence_proxy(&mut self, warp: usize) {
        let Some(unfenced) = &mut self.unfenced else { return };
        for word in unfenced[warp].drain(..) {
            let shadow = &mut self.words[word];
            shadow.unfenced &= usize::from(shadow.warp) != warp;
        }
    }

    /// Writes bytes whose place was checked.
    pub(crate) fn write(&mut self, clocks: &Clocks, who: Who, at: usize, bytes: &[u8]) -> Result<(), Trap> {
        for (word, mask) in granules(at, bytes.len()) {
            if self.words[word].in_flight > 0 {
                let message = format!("writes word {word} of shared memory, to which a copy has not been waited for");
                return Err(Trap::new(FaultKind::CopyInFlight, who.lane, message));
            }
            self.check_write(clocks, who, word, mask)?;
            self.note_write(clocks, who, word, mask);
        }
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Replaces a word whose place was checked at once; the old one. Atomics do not race.
    pub(crate) fn update(&mut self, who: Who, at: usize, apply: impl Fn(u32) -> u32) -> Result<u32, Trap> {
        if self.words[at / 4].written != 0xf {
            let message = format!("an atomic on byte {at} of shared memory, which nobody has written");
            return Err(Trap::new(FaultKind::Uninitialized, who.lane, message));
        }
        let bytes = &mut self.bytes[at..at + 4];
        let old = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        bytes.copy_from_slice(&apply(old).to_le_bytes());
        Ok(old)
    }

    /// Begins an asynchronous write: from here on, nobody may touch the bytes before it lands.
    pub(crate) fn begin(&mut self, clocks: &Clocks, who: Who, at: usize, bytes: usize) -> Result<(), Trap> {
        for (word, mask) in granules(at, bytes) {
            self.check_write(clocks, who, word, mask)?;
            let in_flight = &mut self.words[word].in_flight;
            if *in_flight > 0 {
                let message = format!("two copies to word {word} of shared memory are in flight");
                return Err(Trap::new(FaultKind::Race, who.lane, message));
            }
            *in_flight += 1;
        }
        Ok(())
    }

    /// Lands an asynchronous write. Products of warpgroups see it without a proxy fence, as on hardware, though the ISA
    /// counts `cp.async` to the generic proxy.
    pub(crate) fn land(&mut self, clocks: &Clocks, who: Who, at: usize, bytes: &[u8]) {
        for (word, mask) in granules(at, bytes.len()) {
            self.words[word].in_flight = self.words[word].in_flight.saturating_sub(1);
            self.note_write(clocks, who, word, mask);
            self.words[word].unfenced = false;
        }
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn note_write(&mut self, clocks: &Clocks, who: Who, word: usize, mask: u8) {
        let (time, warp) = (clocks.now(who.warp), who.warp as u8);
        let shadow = &mut self.words[word];
        let continues = shadow.bytes & !mask != 0 && shadow.time == time && shadow.warp == warp;
        (shadow.bytes, shadow.lane) = match continues {
            true if shadow.lane == who.lane as u8 => (shadow.bytes | mask, shadow.lane),
            true => (shadow.bytes | mask, SEVERAL),
            false => (mask, who.lane as u8),
        };
        (shadow.time, shadow.warp) = (time, warp);
        shadow.written |= mask;
        if let Some(unfenced) = &mut self.unfenced {
            shadow.unfenced = true;
            unfenced[who.warp].push(word);
        }
    }

    fn check_write(&self, clocks: &Clocks, who: Who, word: usize, mask: u8) -> Result<(), Trap> {
        let shadow = self.words[word];
        if shadow.bytes & mask != 0 {
            self.check(clocks, who, word, shadow, "writes")?;
        }
        if shadow.reading > 0 {
            let message = format!("writes word {word} of shared memory, which a product in flight reads");
            return Err(Trap::new(FaultKind::Race, who.lane, message));
        }
        let reads = &self.reads[word * self.n_warps..][..self.n_warps];
        for (warp, &time) in reads.iter().enumerate() {
            if time > 0 && warp != who.warp && !clocks.knows(who.warp, warp, time) {
                let message = format!("writes word {word} of shared memory, which warp {warp} reads at the same time");
                return Err(Trap::new(FaultKind::Race, who.lane, message));
            }
        }
        Ok(())
    }

    /// Whether the last write of a word is known to whoever touches it now.
    fn check(&self, clocks: &Clocks, who: Who, word: usize, shadow: Word, verb: &str) -> Result<(), Trap> {
        if shadow.time == 0 {
            return Ok(());
        }
        let warp = usize::from(shadow.warp);
        let is_own = warp == who.warp && (u32::from(shadow.lane) == who.lane || shadow.lane == SEVERAL);
        if is_own || clocks.is_after(who.warp, warp, shadow.time) {
            return Ok(());
        }
        let message = format!("{verb} word {word} of shared memory, which warp {warp} writes at the same time");
        Err(Trap::new(FaultKind::Race, who.lane, message))
    }
}

/// The words of a range of bytes, each with a mask of its bytes in the range.
fn granules(at: usize, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let end = at + bytes;
    (at / 4..end.div_ceil(4)).map(move |word| {
        let (first, last) = (at.max(word * 4) - word * 4, end.min(word * 4 + 4) - word * 4);
        (word, ((1u16 << last) - (1 << first)) as u8)
    })
}

/// How many passes over the banks the accesses of a warp take, and how many they would take without conflicts: 4 bytes
/// per bank and pass; lanes that access 8 or 16 bytes go by halves or quarters of the warp.
pub(crate) fn passes(addresses: &[(u32, u64)], bytes: usize) -> (u64, u64) {
    let per_phase = (128 / bytes.max(4)).min(32) as u32;
    let (mut needed, mut ideal) = (0, 0);
    for first in (0..32).step_by(per_phase as usize) {
        let mut banks = [0usize; 32];
        let mut seen: [u64; 32] = [u64::MAX; 32];
        let mut extra: Vec<u64> = Vec::new();
        let of_phase = addresses.iter().filter(|(lane, _)| (first..first + per_phase).contains(lane));
        for &(_, address) in of_phase {
            for word in address / 4..(address + bytes as u64).div_ceil(4) {
                let bank = (word % 32) as usize;
                if seen[bank] == word || extra.contains(&word) {
                    continue;
                }
                if seen[bank] != u64::MAX {
                    extra.push(seen[bank]);
                }
                seen[bank] = word;
                banks[bank] += 1;
            }
        }
        let most = banks.into_iter().max().unwrap_or(0) as u64;
        needed += most;
        ideal += most.min(1);
    }
    (needed, ideal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bank_conflicts_by_hand() {
        let of = |stride: u64, bytes: usize| {
            passes(&(0..32).map(|lane| (lane, u64::from(lane) * stride)).collect::<Vec<_>>(), bytes)
        };
        assert_eq!(of(4, 4), (1, 1));
        assert_eq!(of(0, 4), (1, 1));
        assert_eq!(of(8, 4), (2, 1));
        assert_eq!(of(128, 4), (32, 1));
        assert_eq!(of(132, 4), (1, 1));
        assert_eq!(of(8, 8), (2, 2));
        assert_eq!(of(16, 16), (4, 4));
        assert_eq!(of(128, 16), (32, 4));
        assert_eq!(of(2, 2), (1, 1));
    }

    #[test]
    fn barriers_order_warps() {
        let mut clocks = Clocks::new(2);
        let mut shared = Shared::new(16, 2, false);
        let [a, b] = [0, 1].map(|warp| Who { warp, lane: 3 });
        shared.write(&clocks, a, 4, &[1; 4]).unwrap();
        let mut out = [0; 4];
        assert_eq!(shared.read(&clocks, b, 4, &mut out).unwrap_err().kind, FaultKind::Race);
        clocks.synchronize(&[0, 1]);
        shared.read(&clocks, b, 4, &mut out).unwrap();
        assert_eq!(out, [1; 4]);
        assert_eq!(shared.write(&clocks, a, 4, &[2; 4]).unwrap_err().kind, FaultKind::Race);
        clocks.synchronize(&[0, 1]);
        shared.write(&clocks, a, 4, &[2; 4]).unwrap();
        assert_eq!(shared.read(&clocks, a, 8, &mut out).unwrap_err().kind, FaultKind::Uninitialized);
    }
}
