//! Loads, stores, atomics and asynchronous copies.

use super::block::{Block, Flow};
use crate::fault::{FaultKind, Trap};
use crate::instruction::{Address, Atomic, Instruction, Op, Operand, Reg, Space};
use crate::memory::{Access, Allocation};
use crate::shared::{Who, passes};
use crate::types::Ty;
use crate::warp::{Copy, Lanes};

fn lanes_of(lanes: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |lane| lanes >> lane & 1 == 1)
}

impl<'a> Block<'a> {
    pub(super) fn access(&mut self, warp: usize, instruction: &'a Instruction, lanes: u32) -> Result<Flow, Trap> {
        match &instruction.op {
            Op::Load { space, ty, dst, at } => self.load((warp, lanes), *space, *ty, dst, *at)?,
            Op::Store { space, ty, src, at } => self.store((warp, lanes), *space, *ty, src, *at)?,
            Op::Atomic { op, space, ty, dst, at, a, b } => {
                let a = self.fetch(warp, *a, lanes)?;
                let b = b.map(|b| self.fetch(warp, b, lanes)).transpose()?;
                let addresses = self.addresses(warp, *at, *space, lanes)?;
                let mut old = [0; 32];
                for lane in lanes_of(lanes) {
                    let i = lane as usize;
                    let apply = |word: u32| atomic(*op, *ty, word, a[i], b.map(|b| b[i]));
                    old[i] = self.update(Who { warp, lane }, *space, addresses[i], apply)?.into();
                }
                if let Some(dst) = dst {
                    self.set(warp, *dst, lanes, &old);
                }
            }
            _ => {}
        }
        Ok(Flow::Next)
    }

    /// Addresses of lanes; those in shared memory are 32 bits wide.
    fn addresses(&self, warp: usize, at: Address, space: Space, lanes: u32) -> Result<Lanes, Trap> {
        let base = self.fetch(warp, at.base, lanes)?;
        Ok(base.map(|base| {
            let address = base.wrapping_add(at.offset as u64);
            if space == Space::Global { address } else { address & 0xffff_ffff }
        }))
    }

    fn load(
        &mut self,
        (warp, lanes): (usize, u32),
        space: Space,
        ty: Ty,
        dst: &[Option<Reg>],
        at: Address,
    ) -> Result<(), Trap> {
        let addresses = self.addresses(warp, at, space, lanes)?;
        let size = ty.bytes() as usize;
        let total = size * dst.len();
        self.count_access(space, &addresses, lanes, total);
        let mut elements = vec![[0; 32]; dst.len()];
        for lane in lanes_of(lanes) {
            let mut bytes = [0; 16];
            self.read((Who { warp, lane }, space), addresses[lane as usize], &mut bytes[..total])?;
            for (i, element) in elements.iter_mut().enumerate() {
                let mut wide = [0; 8];
                wide[..size].copy_from_slice(&bytes[i * size..(i + 1) * size]);
                let bits = u64::from_le_bytes(wide);
                element[lane as usize] = if ty.is_signed() { ty.int(bits) as u64 } else { bits };
            }
        }
        for (reg, values) in dst.iter().zip(&elements) {
            if let Some(reg) = reg {
                self.set(warp, *reg, lanes, values);
            }
        }
        Ok(())
    }

    fn store(
        &mut self,
        (warp, lanes): (usize, u32),
        space: Space,
        ty: Ty,
        src: &[Operand],
        at: Address,
    ) -> Result<(), Trap> {
        let addresses = self.addresses(warp, at, space, lanes)?;
        let values = src.iter().map(|src| self.fetch(warp, *src, lanes)).collect::<Result<Vec<_>, _>>()?;
        let size = ty.bytes() as usize;
        self.count_access(space, &addresses, lanes, size * src.len());
        for lane in lanes_of(lanes) {
            let mut bytes = [0; 16];
            for (i, values) in values.iter().enumerate() {
                bytes[i * size..(i + 1) * size].copy_from_slice(&values[lane as usize].to_le_bytes()[..size]);
            }
            self.write((Who { warp, lane }, space), addresses[lane as usize], &bytes[..size * src.len()])?;
        }
        Ok(())
    }

    /// The allocation that holds an access, and where.
    fn place(&mut self, lane: u32, address: u64, bytes: usize) -> Result<(&'a Allocation, usize), Trap> {
        if !address.is_multiple_of(bytes as u64) {
            return Err(Trap::new(FaultKind::Misaligned, lane, format!("{bytes} bytes at {address:#x}")));
        }
        if let Some(last) = self.last
            && let Some(at) = last.offset(address, bytes as u64)
        {
            return Ok((last, at));
        }
        let found = self.memory.find(address, bytes as u64);
        let (allocation, at) = found.map_err(|e| Trap::new(FaultKind::OutOfBounds, lane, e.to_string()))?;
        self.last = Some(allocation);
        Ok((allocation, at))
    }

    /// Whether an access to a word that this block has written is ordered after that.
    fn check_order(&self, who: Who, address: u64, verb: &str) -> Result<(), Trap> {
        let Some(&(warp, lane, time)) = self.written.get(&(address / 4)) else { return Ok(()) };
        let is_own = (warp, lane) == (who.warp, who.lane);
        if is_own || self.clocks.is_after(who.warp, warp, time) {
            return Ok(());
        }
        let message = format!("{verb} {address:#x}, which warp {warp}, lane {lane} writes at the same time");
        Err(Trap::new(FaultKind::Race, who.lane, message))
    }

    pub(super) fn read(&mut self, (who, space): (Who, Space), address: u64, out: &mut [u8]) -> Result<(), Trap> {
        let n = out.len();
        match space {
            Space::Shared => {
                let at = self.shared.place(who, address, n)?;
                self.shared.read(&self.clocks, who, at, out)
            }
            Space::Param => {
                let params = &self.launch.params;
                let found = usize::try_from(address).ok().and_then(|at| params.get(at..at.checked_add(n)?));
                let found = found.ok_or_else(|| {
                    let message = format!("{n} bytes at {address} of {} bytes of parameters", params.len());
                    Trap::new(FaultKind::OutOfBounds, who.lane, message)
                })?;
                out.copy_from_slice(found);
                Ok(())
            }
            Space::Global => {
                let (allocation, at) = self.place(who.lane, address, n)?;
                if !allocation.is_written(at, n) {
                    let message = format!("reads {n} bytes at {address:#x}, which nobody has written");
                    return Err(Trap::new(FaultKind::Uninitialized, who.lane, message));
                }
                if self.touched.note(address, n as u32, Access::Read) {
                    (0..n as u64).step_by(4).try_for_each(|i| self.check_order(who, address + i, "reads"))?;
                }
                let step = n.min(4);
                for (i, chunk) in out.chunks_mut(step).enumerate() {
                    chunk.copy_from_slice(&allocation.load(at + i * step, step).to_le_bytes()[..step]);
                }
                Ok(())
            }
        }
    }

    pub(super) fn write(&mut self, (who, space): (Who, Space), address: u64, bytes: &[u8]) -> Result<(), Trap> {
        let n = bytes.len();
        match space {
            Space::Shared => {
                let at = self.shared.place(who, address, n)?;
                self.shared.write(&self.clocks, who, at, bytes)
            }
            Space::Param => Err(Trap::new(FaultKind::Operand, who.lane, "a store to a parameter")),
            Space::Global => {
                let (allocation, at) = self.place(who.lane, address, n)?;
                let was_written = self.touched.note(address, n as u32, Access::Write);
                let time = self.clocks.now(who.warp);
                for word in (0..n as u64).step_by(4).map(|i| address + i) {
                    if was_written {
                        self.check_order(who, word, "writes")?;
                    }
                    self.written.insert(word / 4, (who.warp, who.lane, time));
                }
                let step = n.min(4);
                for (i, chunk) in bytes.chunks(step).enumerate() {
                    let mut word = [0; 4];
                    word[..step].copy_from_slice(chunk);
                    allocation.store(at + i * step, step, u32::from_le_bytes(word));
                }
                Ok(())
            }
        }
    }

    /// Replaces a word at once; the old one. Atomics do not race with each other, and are not looked at as accesses.
    fn update(&mut self, who: Who, space: Space, address: u64, apply: impl Fn(u32) -> u32) -> Result<u32, Trap> {
        if space == Space::Global {
            let (allocation, at) = self.place(who.lane, address, 4)?;
            if !allocation.is_written(at, 4) {
                let message = format!("an atomic on {address:#x}, which nobody has written");
                return Err(Trap::new(FaultKind::Uninitialized, who.lane, message));
            }
            return Ok(allocation.update(at, apply));
        }
        let at = self.shared.place(who, address, 4)?;
        self.shared.update(who, at, apply)
    }

    pub(super) fn copies(&mut self, warp: usize, instruction: &'a Instruction, lanes: u32) -> Result<Flow, Trap> {
        match &instruction.op {
            Op::CopyAsync { bytes, to, from, source_bytes } => {
                let n = *bytes as usize;
                let (to, from) = (
                    self.addresses(warp, *to, Space::Shared, lanes)?,
                    self.addresses(warp, *from, Space::Global, lanes)?,
                );
                let source_bytes = self.fetch(warp, source_bytes.unwrap_or(Operand::Bits(n as u64)), lanes)?;
                let reading = lanes_of(lanes).filter(|&lane| source_bytes[lane as usize] as u32 > 0);
                let reading = reading.fold(0, |bits, lane| bits | 1 << lane);
                self.count_access(Space::Global, &from, reading, n);
                for lane in lanes_of(lanes) {
                    let i = lane as usize;
                    let count = source_bytes[i] as u32 as usize;
                    if count > n {
                        let message = format!("a copy of {count} bytes into {n}");
                        return Err(Trap::new(FaultKind::Operand, lane, message));
                    }
                    let mut data = vec![0; n];
                    if count > 0 {
                        self.source((Who { warp, lane }, from[i]), &mut data, count)?;
                    }
                    let who = Who { warp, lane };
                    let at = self.shared.place(who, to[i], n)?;
                    self.shared.begin(&self.clocks, who, at, n)?;
                    let group = self.warps[warp].committed[i];
                    self.warps[warp].copies.push(Copy { lane, group, at, bytes: data });
                }
            }
            Op::CommitGroup => lanes_of(lanes).for_each(|lane| self.warps[warp].committed[lane as usize] += 1),
            Op::WaitGroup(pending) => {
                let committed = self.warps[warp].committed;
                self.land(warp, |copy| {
                    let waits = lanes >> copy.lane & 1 == 1;
                    waits && u64::from(copy.group) + (*pending as u64) < u64::from(committed[copy.lane as usize])
                });
            }
            _ => self.land(warp, |copy| lanes >> copy.lane & 1 == 1),
        }
        Ok(Flow::Next)
    }

    /// Reads the first `count` bytes at a source, which is aligned to all of them.
    fn source(&mut self, (who, address): (Who, u64), data: &mut [u8], count: usize) -> Result<(), Trap> {
        if !address.is_multiple_of(data.len() as u64) {
            let message = format!("a copy of {} bytes from {address:#x}", data.len());
            return Err(Trap::new(FaultKind::Misaligned, who.lane, message));
        }
        let (mut at, end) = (0, count);
        while at < end {
            let n = [16, 8, 4, 2, 1].into_iter().find(|n| at % n == 0 && at + n <= end).unwrap_or(1);
            self.read((who, Space::Global), address + at as u64, &mut data[at..at + n])?;
            at += n;
        }
        Ok(())
    }

    fn land(&mut self, warp: usize, lands: impl Fn(&Copy) -> bool) {
        let copies = std::mem::take(&mut self.warps[warp].copies);
        let (landing, rest): (Vec<Copy>, Vec<Copy>) = copies.into_iter().partition(lands);
        self.warps[warp].copies = rest;
        for copy in landing {
            self.shared.land(&self.clocks, Who { warp, lane: copy.lane }, copy.at, &copy.bytes);
        }
    }

    /// Counts sectors, or passes over banks, of an access of `bytes` bytes per lane.
    pub(super) fn count_access(&mut self, space: Space, addresses: &Lanes, lanes: u32, bytes: usize) {
        match space {
            Space::Param => {}
            Space::Global => {
                let mut starts: Vec<u64> = lanes_of(lanes).map(|lane| addresses[lane as usize]).collect();
                starts.sort_unstable();
                starts.dedup();
                let distinct = starts.len() as u64 * bytes as u64;
                starts.iter_mut().for_each(|address| *address /= 32);
                starts.dedup();
                self.counts.global_requests += 1;
                self.counts.global_sectors += starts.len() as u64;
                self.counts.global_sectors_ideal += distinct.div_ceil(32);
            }
            Space::Shared => {
                let pairs: Vec<(u32, u64)> = lanes_of(lanes).map(|lane| (lane, addresses[lane as usize])).collect();
                let (needed, ideal) = passes(&pairs, bytes);
                self.counts.shared_passes += needed;
                self.counts.bank_conflicts += needed - ideal;
                self.counts.shared_bytes += pairs.len() as u64 * bytes as u64;
            }
        }
    }
}

fn atomic(op: Atomic, ty: Ty, old: u32, a: u64, b: Option<u64>) -> u32 {
    let (x, y) = (ty.int(old.into()), ty.int(a));
    if ty.is_float() {
        return match op {
            Atomic::Add => (f32::from_bits(old) + f32::from_bits(a as u32)).to_bits(),
            _ => a as u32,
        };
    }
    match op {
        Atomic::Add => (x + y) as u32,
        Atomic::Min => x.min(y) as u32,
        Atomic::Max => x.max(y) as u32,
        Atomic::And => old & a as u32,
        Atomic::Or => old | a as u32,
        Atomic::Xor => old ^ a as u32,
        Atomic::Exchange => a as u32,
        Atomic::CompareAndSwap => {
            if x == y {
                b.unwrap_or(0) as u32
            } else {
                old
            }
        }
    }
}
