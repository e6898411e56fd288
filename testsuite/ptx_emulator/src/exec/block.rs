//! A block: its warps run in turn, each until it waits or ends.

use super::{Launch, alu, convert, shared_bytes};
use crate::counts::Counts;
use crate::fault::{Fault, FaultKind, Trap};
use crate::float::Format;
use crate::instruction::{Guard, Instruction, Op, Operand, Reg, Special, Ternary};
use crate::memory::{Allocation, Memory, Touched};
use crate::parse::Function;
use crate::shared::{Clocks, Shared};
use crate::types::Ty;
use crate::warp::{LANES, Lanes, State, Warp};
use std::collections::HashMap;

/// What runs one block after another.
pub(super) struct Block<'a> {
    pub(super) function: &'a Function,
    pub(super) memory: &'a Memory,
    pub(super) launch: &'a Launch,
    coordinates: [u32; 3],
    pub(super) warps: Vec<Warp>,
    pub(super) shared: Shared,
    pub(super) clocks: Clocks,
    pub(super) counts: Counts,
    pub(super) touched: Touched,
    /// Words of device memory that this block has written: warp, lane and time of the last write.
    pub(super) written: HashMap<u64, (usize, u32, u32)>,
    /// The allocation that was accessed last.
    pub(super) last: Option<&'a Allocation>,
}

/// Whether anything of the kernel accesses shared memory by the asynchronous proxy.
fn has_proxies(function: &Function) -> bool {
    function.body.iter().any(|instruction| matches!(instruction.op, Op::WarpgroupMma(_)))
}

/// What an instruction does to the flow of its warp.
pub(super) enum Flow {
    Next,
    /// The warp does not go on for now, or has gone elsewhere.
    Moved,
}

impl<'a> Block<'a> {
    pub(super) fn new(function: &'a Function, memory: &'a Memory, launch: &'a Launch) -> Block<'a> {
        let threads: u32 = launch.block.iter().product();
        let n_warps = threads.div_ceil(LANES) as usize;
        Block {
            function,
            memory,
            launch,
            coordinates: [0; 3],
            warps: Vec::new(),
            shared: Shared::new(shared_bytes(function, launch), n_warps, has_proxies(function)),
            clocks: Clocks::new(n_warps),
            counts: Counts::default(),
            touched: Touched::default(),
            written: HashMap::new(),
            last: None,
        }
    }

    /// Runs the block of this number to its end.
    pub(super) fn run(&mut self, index: u64) -> Result<(Counts, Touched), Fault> {
        let [x, y, _] = self.launch.grid.map(u64::from);
        self.coordinates = [index % x, index / x % y, index / x / y].map(|i| i as u32);
        let threads: u32 = self.launch.block.iter().product();
        let n_warps = threads.div_ceil(LANES) as usize;
        self.warps = (0..n_warps).map(|i| Warp::new(self.function, i, threads)).collect();
        self.clocks = Clocks::new(n_warps);
        self.shared.reset();
        self.written.clear();
        self.counts = Counts { blocks: 1, ..Counts::default() };
        self.touched = Touched::default();
        loop {
            for warp in 0..n_warps {
                self.run_warp(warp).map_err(|(trap, at)| self.fault(index, warp, trap, at))?;
            }
            if self.warps.iter().all(|warp| warp.state == State::Done) {
                return Ok((std::mem::take(&mut self.counts), std::mem::take(&mut self.touched)));
            }
            let released = self.release();
            released.map_err(|(warp, trap)| {
                let at = self.warps[warp].top().map_or(0, |frame| frame.at);
                self.fault(index, warp, trap, at)
            })?;
        }
    }

    fn fault(&self, block: u64, warp: usize, trap: Trap, at: usize) -> Fault {
        let instruction = self.function.body.get(at);
        Fault {
            kind: trap.kind,
            kernel: self.function.name.clone(),
            block,
            thread: warp as u32 * LANES + trap.lane,
            line: instruction.map_or(0, |i| i.line),
            instruction: instruction.map_or(String::new(), |i| i.text.clone()),
            message: trap.message,
        }
    }

    /// Lets warps pass a barrier at which all that it is for have arrived.
    fn release(&mut self) -> Result<(), (usize, Trap)> {
        let n_threads: u32 = self.launch.block.iter().product();
        let waiting: Vec<(usize, u32, Option<u32>)> = self
            .warps
            .iter()
            .filter_map(|warp| match warp.state {
                State::Waiting { barrier, threads } => Some((warp.index, barrier, threads)),
                _ => None,
            })
            .collect();
        let mut released = false;
        for &(_, barrier, threads) in &waiting {
            let here: Vec<usize> = waiting.iter().filter(|w| w.1 == barrier).map(|w| w.0).collect();
            let is_waiting = here.iter().all(|&w| self.warps[w].state != State::Ready);
            let arrived: u32 = here.iter().map(|&w| self.warps[w].alive.count_ones()).sum();
            if is_waiting && arrived == threads.unwrap_or(n_threads) {
                self.clocks.synchronize(&here);
                here.iter().for_each(|&w| self.warps[w].state = State::Ready);
                released = true;
            }
        }
        if released {
            return Ok(());
        }
        let (warp, barrier, threads) = waiting[0];
        let message = match self.warps.iter().any(|warp| warp.state == State::Done) {
            true => format!("waits at barrier {barrier}, which other threads have left behind by ending"),
            false => format!("waits at barrier {barrier} for {} threads", threads.unwrap_or(n_threads)),
        };
        Err((warp, Trap::new(FaultKind::Divergence, 0, message)))
    }

    /// Runs a warp until it waits or ends.
    fn run_warp(&mut self, warp: usize) -> Result<(), (Trap, usize)> {
        while self.warps[warp].state == State::Ready {
            let Some(frame) = self.warps[warp].top() else {
                self.warps[warp].state = State::Done;
                break;
            };
            let instruction = &self.function.body[frame.at];
            let lanes = match instruction.guard {
                None => frame.lanes,
                Some(guard) => frame.lanes & self.guard(warp, guard, frame.lanes).map_err(|trap| (trap, frame.at))?,
            };
            self.counts.issued[instruction.op.class() as usize] += 1;
            let flow = match instruction.op {
                Op::Branch { to } => {
                    self.branch(warp, frame.at, frame.lanes, lanes, to);
                    Flow::Moved
                }
                Op::Exit => {
                    self.warps[warp].end(lanes);
                    if lanes == frame.lanes { Flow::Moved } else { Flow::Next }
                }
                _ if lanes == 0 => Flow::Next,
                _ => self.execute(warp, instruction, lanes).map_err(|trap| (trap, frame.at))?,
            };
            if let Flow::Next = flow {
                self.warps[warp].go(frame.at + 1);
            }
        }
        Ok(())
    }

    fn branch(&mut self, warp: usize, at: usize, lanes: u32, taken: u32, to: usize) {
        let warp = &mut self.warps[warp];
        if taken == lanes {
            warp.go(to);
        } else if taken == 0 {
            warp.go(at + 1);
        } else {
            self.counts.divergent_branches += 1;
            warp.part(taken, to, at + 1, self.function.meets[at]);
        }
    }

    /// The lanes of `lanes` where a predicate holds.
    pub(super) fn guard(&self, warp: usize, guard: Guard, lanes: u32) -> Result<u32, Trap> {
        let values = self.warps[warp].get(self.function, guard.reg, lanes)?;
        let holds = (0..32).fold(0, |bits, lane| bits | ((values[lane] as u32 & 1) << lane));
        Ok(if guard.negated { lanes & !holds } else { lanes & holds })
    }

    /// The values of an operand.
    pub(super) fn fetch(&self, warp: usize, operand: Operand, lanes: u32) -> Result<Lanes, Trap> {
        Ok(match operand {
            Operand::Reg(reg) => *self.warps[warp].get(self.function, reg, lanes)?,
            Operand::Bits(bits) => [bits; 32],
            Operand::Special(special) => std::array::from_fn(|lane| self.special(warp, special, lane as u32)),
        })
    }

    fn special(&self, warp: usize, special: Special, lane: u32) -> u64 {
        let thread = warp as u32 * LANES + lane;
        let [x, y, _] = self.launch.block;
        u64::from(match special {
            Special::Tid(axis) => [thread % x, thread / x % y, thread / x / y][axis],
            Special::Ntid(axis) => self.launch.block[axis],
            Special::Ctaid(axis) => self.coordinates[axis],
            Special::Nctaid(axis) => self.launch.grid[axis],
            Special::LaneId => lane,
            Special::WarpId => warp as u32,
            Special::LaneMask(0) => 1 << lane,
            Special::LaneMask(1) => u32::MAX >> (31 - lane),
            Special::LaneMask(2) => (1 << lane) - 1,
            Special::LaneMask(3) => u32::MAX << lane,
            Special::LaneMask(_) => !(u32::MAX >> (31 - lane)),
            Special::DynamicSharedSize => self.launch.dynamic_shared,
        })
    }

    pub(super) fn set(&mut self, warp: usize, reg: Reg, lanes: u32, values: &Lanes) {
        self.warps[warp].set(self.function, reg, lanes, values);
    }

    /// Sets a register to what `f` makes of each lane.
    fn map(
        &mut self,
        (warp, lanes, dst): (usize, u32, Reg),
        f: impl Fn(usize) -> Result<u64, String>,
    ) -> Result<Flow, Trap> {
        let mut values = [0; 32];
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            values[lane] = f(lane).map_err(|message| Trap::new(FaultKind::Operand, lane as u32, message))?;
        }
        self.set(warp, dst, lanes, &values);
        Ok(Flow::Next)
    }

    fn execute(&mut self, warp: usize, instruction: &'a Instruction, lanes: u32) -> Result<Flow, Trap> {
        let fetch = |operand: &Operand| self.fetch(warp, *operand, lanes);
        match &instruction.op {
            Op::Mov { dst, a, .. } => {
                let a = fetch(a)?;
                self.set(warp, *dst, lanes, &a);
                Ok(Flow::Next)
            }
            Op::Pack { dst, part_bits, parts } => {
                let parts = parts.iter().map(fetch).collect::<Result<Vec<_>, _>>()?;
                let join = |lane: usize| {
                    let parts = parts.iter().enumerate();
                    Ok(parts.fold(0, |bits, (i, part)| bits | part[lane] << (i as u32 * part_bits)))
                };
                self.map((warp, lanes, *dst), join)
            }
            Op::Unpack { parts, part_bits, a } => {
                let a = fetch(a)?;
                for (i, part) in parts.iter().enumerate() {
                    if let Some(reg) = part {
                        self.set(warp, *reg, lanes, &a.map(|bits| bits >> (i as u32 * part_bits)));
                    }
                }
                Ok(Flow::Next)
            }
            Op::Unary { op, ty, mode, dst, a } => {
                let a = fetch(a)?;
                self.count_flops(*ty, 1, lanes);
                self.map((warp, lanes, *dst), |lane| alu::unary(*op, *ty, *mode, a[lane]))
            }
            Op::Binary { op, ty, mode, dst, a, b } => {
                let (a, b) = (fetch(a)?, fetch(b)?);
                self.count_flops(*ty, 1, lanes);
                match alu::fast_binary(*op, *ty, *mode) {
                    Some(f) => {
                        let values = std::array::from_fn(|lane| f(a[lane], b[lane]));
                        self.set(warp, *dst, lanes, &values);
                        Ok(Flow::Next)
                    }
                    None => self.map((warp, lanes, *dst), |lane| alu::binary(*op, *ty, *mode, a[lane], b[lane])),
                }
            }
            Op::Ternary { op, ty, mode, dst, a, b, c } => {
                let (a, b, c) = (fetch(a)?, fetch(b)?, fetch(c)?);
                self.count_flops(*ty, 2, lanes);
                let is_plain = !mode.flushes && !mode.saturates && !mode.relu;
                if is_plain && *op == Ternary::Fma && *ty == Ty::F(Format::F32) {
                    let values = std::array::from_fn(|lane| alu::fma(a[lane], b[lane], c[lane]));
                    self.set(warp, *dst, lanes, &values);
                    return Ok(Flow::Next);
                }
                self.map((warp, lanes, *dst), |lane| alu::ternary(*op, *ty, *mode, [a[lane], b[lane], c[lane]]))
            }
            Op::InsertBits { ty, dst, a, b, position, length } => {
                let (a, b, position, length) = (fetch(a)?, fetch(b)?, fetch(position)?, fetch(length)?);
                let insert = |l: usize| Ok(alu::insert_bits(*ty, a[l], b[l], position[l], length[l]));
                self.map((warp, lanes, *dst), insert)
            }
            Op::SetP { compare, unordered, ty, dst, inverse, a, b, combine } => {
                let (a, b) = (fetch(a)?, fetch(b)?);
                let held = (0..32).fold(0u32, |bits, lane| {
                    bits | u32::from(alu::compare(*compare, *unordered, *ty, a[lane], b[lane])) << lane
                });
                let (mut yes, mut no) = (held, !held);
                if let Some((op, guard)) = combine {
                    let with = self.guard(warp, *guard, lanes)?;
                    (yes, no) = (alu::combine(*op, yes, with), alu::combine(*op, no, with));
                }
                let bits = |mask: u32| std::array::from_fn(|lane| u64::from(mask >> lane & 1));
                self.set(warp, *dst, lanes, &bits(yes));
                if let Some(inverse) = inverse {
                    self.set(warp, *inverse, lanes, &bits(no));
                }
                Ok(Flow::Next)
            }
            Op::SelP { dst, a, b, p, .. } => {
                let (a, b) = (fetch(a)?, fetch(b)?);
                let p = self.guard(warp, *p, lanes)?;
                self.map((warp, lanes, *dst), |lane| Ok(if p >> lane & 1 == 1 { a[lane] } else { b[lane] }))
            }
            Op::Cvt { to, from, integral, mode, dst, a, low } => {
                let a = fetch(a)?;
                let low = low.as_ref().map(fetch).transpose()?;
                self.map((warp, lanes, *dst), |lane| {
                    Ok(convert::convert(*to, *from, *integral, *mode, a[lane], low.map(|low| low[lane])))
                })
            }
            Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } => self.access(warp, instruction, lanes),
            Op::CopyAsync { .. } | Op::CommitGroup | Op::WaitGroup(_) | Op::WaitAll => {
                self.copies(warp, instruction, lanes)
            }
            Op::Fence => Ok(Flow::Next),
            _ => self.collective(warp, &instruction.op, lanes),
        }
    }

    fn count_flops(&mut self, ty: Ty, per_element: u64, lanes: u32) {
        let elements = match ty {
            Ty::F(_) => 1,
            Ty::Pair(_) => 2,
            _ => 0,
        };
        self.counts.flops += elements * per_element * u64::from(lanes.count_ones());
    }
}
