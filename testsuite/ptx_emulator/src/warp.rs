//! A warp: registers of 32 lanes, the stack of parted lanes, copies in flight.

use crate::cfg::END;
use crate::fault::{FaultKind, Trap};
use crate::instruction::Reg;
use crate::parse::Function;
use crate::types::mask;
use std::collections::VecDeque;

/// Lanes of a warp.
pub(crate) const LANES: u32 = 32;

/// A value per lane.
pub(crate) type Lanes = [u64; LANES as usize];

/// Lanes that run together, and where they meet those below them on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) at: usize,
    meet: usize,
    pub(crate) lanes: u32,
}

/// An asynchronous copy of a lane that has not landed.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) lane: u32,
    /// The lane's group.
    pub(crate) group: u32,
    /// Where in shared memory.
    pub(crate) at: usize,
    pub(crate) bytes: Vec<u8>,
}

/// A product of a warpgroup that has not been waited for: what of it is in this warp.
#[derive(Debug)]
pub(crate) struct Product {
    accumulators: Vec<Reg>,
    /// Factors in registers, with what they must stay.
    held: Vec<(Reg, Lanes)>,
    /// Where it reads 16 bytes of shared memory each.
    pub(crate) reads: Vec<usize>,
}

/// Why a warp does not run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Ready,
    /// At a barrier, for so many threads if not for all.
    Waiting {
        barrier: u32,
        threads: Option<u32>,
    },
    Done,
}

/// A warp.
#[derive(Debug)]
pub(crate) struct Warp {
    pub(crate) index: usize,
    pub(crate) state: State,
    /// Lanes that have threads which have not ended.
    pub(crate) alive: u32,
    stack: Vec<Frame>,
    values: Vec<Lanes>,
    /// Lanes in which a register was set.
    defined: Vec<u32>,
    pub(crate) copies: Vec<Copy>,
    /// Groups of copies that each lane has committed.
    pub(crate) committed: [u32; LANES as usize],
    /// Products whose group is not closed yet, and the closed groups.
    open: Vec<Product>,
    groups: VecDeque<Vec<Product>>,
    /// How many products in flight each register accumulates.
    accumulating: Vec<u32>,
    /// Number of fences before each register was last set, and of fences so far.
    set_after: Vec<u32>,
    n_fences: u32,
}

impl Warp {
    /// A warp at the start of a kernel.
    pub(crate) fn new(function: &Function, index: usize, threads: u32) -> Warp {
        let n = threads.saturating_sub(index as u32 * LANES).min(LANES);
        let alive = mask(n) as u32;
        Warp {
            index,
            state: State::Ready,
            alive,
            stack: vec![Frame { at: 0, meet: END, lanes: alive }],
            values: vec![[0; 32]; function.registers.len()],
            defined: vec![0; function.registers.len()],
            copies: Vec::new(),
            committed: [0; 32],
            open: Vec::new(),
            groups: VecDeque::new(),
            accumulating: vec![0; function.registers.len()],
            set_after: vec![0; function.registers.len()],
            n_fences: 0,
        }
    }

    /// The lanes that run next, and where; parted lanes that have met are one again.
    pub(crate) fn top(&mut self) -> Option<Frame> {
        while let Some(frame) = self.stack.last().copied() {
            if frame.lanes != 0 && frame.at != frame.meet {
                return Some(frame);
            }
            self.stack.pop();
        }
        None
    }

    /// Goes on at an instruction.
    pub(crate) fn go(&mut self, at: usize) {
        if let Some(frame) = self.stack.last_mut() {
            frame.at = at;
        }
    }

    /// Sends `taken` of the running lanes to an instruction and the rest to another, until they meet.
    pub(crate) fn part(&mut self, taken: u32, to: usize, otherwise: usize, meet: usize) {
        let Some(frame) = self.stack.last_mut() else { return };
        let rest = frame.lanes & !taken;
        frame.at = meet;
        self.stack.push(Frame { at: otherwise, meet, lanes: rest });
        self.stack.push(Frame { at: to, meet, lanes: taken });
    }

    /// Ends lanes.
    pub(crate) fn end(&mut self, lanes: u32) {
        self.alive &= !lanes;
        self.stack.iter_mut().for_each(|frame| frame.lanes &= !lanes);
    }

    /// The values of a register that `lanes` have set.
    pub(crate) fn get(&self, function: &Function, reg: Reg, lanes: u32) -> Result<&Lanes, Trap> {
        let missing = lanes & !self.defined[reg as usize];
        if missing != 0 {
            if self.accumulating[reg as usize] > 0 {
                let message = format!("reads `{}`, to which a product in flight adds", function.names[reg as usize]);
                return Err(Trap::new(FaultKind::ProductInFlight, missing.trailing_zeros(), message));
            }
            let message = format!("`{}` has not been set", function.names[reg as usize]);
            return Err(Trap::new(FaultKind::Uninitialized, missing.trailing_zeros(), message));
        }
        Ok(&self.values[reg as usize])
    }

    /// Sets a register in some lanes, to as many bits as it has.
    pub(crate) fn set(&mut self, function: &Function, reg: Reg, lanes: u32, values: &Lanes) {
        let bits = mask(function.registers[reg as usize]);
        let register = &mut self.values[reg as usize];
        if lanes == u32::MAX {
            register.iter_mut().zip(values).for_each(|(to, from)| *to = from & bits);
        } else {
            (0..32).filter(|lane| lanes >> lane & 1 == 1).for_each(|lane| register[lane] = values[lane] & bits);
        }
        self.defined[reg as usize] |= lanes;
        self.set_after[reg as usize] = self.n_fences;
    }

    /// `wgmma.fence`.
    pub(crate) fn fence_registers(&mut self) {
        self.n_fences += 1;
    }

    /// Whether a fence came after a register was set.
    pub(crate) fn need_fence(&self, function: &Function, reg: Reg) -> Result<(), Trap> {
        if self.set_after[reg as usize] < self.n_fences {
            return Ok(());
        }
        let message = format!("`{}` was set, and no `wgmma.fence` followed", function.names[reg as usize]);
        Err(Trap::new(FaultKind::ProductInFlight, 0, message))
    }

    /// What a product adds to, which may be what another one in flight adds to.
    pub(crate) fn accumulator(&self, function: &Function, reg: Reg, is_read: bool) -> Result<Lanes, Trap> {
        if self.accumulating[reg as usize] == 0 {
            self.need_fence(function, reg)?;
            if is_read {
                return self.get(function, reg, u32::MAX).copied();
            }
        }
        Ok(self.values[reg as usize])
    }

    /// Notes a product whose sums are `sums`; nobody else may touch those before it is waited for.
    pub(crate) fn begin_product(
        &mut self,
        function: &Function,
        accumulators: &[Reg],
        sums: &[Lanes],
        held: &[Reg],
        reads: Vec<usize>,
    ) {
        let held = held.iter().map(|&reg| (reg, self.values[reg as usize])).collect();
        for (&reg, sums) in accumulators.iter().zip(sums) {
            let before = self.set_after[reg as usize];
            self.set(function, reg, u32::MAX, sums);
            self.set_after[reg as usize] = before;
            self.defined[reg as usize] = 0;
            self.accumulating[reg as usize] += 1;
        }
        self.open.push(Product { accumulators: accumulators.to_vec(), held, reads });
    }

    /// Closes the group of the products since the last one.
    pub(crate) fn commit_products(&mut self) {
        self.groups.push_back(std::mem::take(&mut self.open));
    }

    /// Takes the products of all groups but the last `pending`.
    pub(crate) fn products_beyond(&mut self, pending: usize) -> Vec<Product> {
        let n = self.groups.len().saturating_sub(pending);
        self.groups.drain(..n).flatten().collect()
    }

    /// Gives the registers of a product back.
    pub(crate) fn finish_product(&mut self, function: &Function, product: Product) -> Result<(), Trap> {
        let fault = |reg: Reg| {
            let message = format!("`{}` was set while a product in flight used it", function.names[reg as usize]);
            Err(Trap::new(FaultKind::ProductInFlight, 0, message))
        };
        for reg in product.accumulators {
            if self.defined[reg as usize] != 0 {
                return fault(reg);
            }
            self.accumulating[reg as usize] -= 1;
            if self.accumulating[reg as usize] == 0 {
                self.defined[reg as usize] = u32::MAX;
            }
        }
        match product.held.iter().find(|(reg, values)| self.values[*reg as usize] != *values) {
            Some((reg, _)) => fault(*reg),
            None => Ok(()),
        }
    }
}
