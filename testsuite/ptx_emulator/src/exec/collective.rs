//! Barriers, exchanges within a warp, and matrices in shared memory: what lanes do together.

use super::alu;
use super::block::{Block, Flow};
use crate::fault::{FaultKind, Trap};
use crate::float::Rounding;
use crate::instruction::{Address, FloatMode, Op, Operand, Reg, ShuffleMode, Space, Vote};
use crate::shared::Who;
use crate::warp::{Lanes, State};

/// Integers have no mode.
const PLAIN: FloatMode = FloatMode {
    rounding: Rounding::Nearest,
    flushes: false,
    saturates: false,
    propagates_nan: false,
    relu: false,
    clamps: false,
};

impl<'a> Block<'a> {
    pub(super) fn collective(&mut self, warp: usize, op: &'a Op, lanes: u32) -> Result<Flow, Trap> {
        match op {
            Op::Barrier { id, threads } => {
                self.need_all(warp, lanes, "the barrier")?;
                let id = self.fetch(warp, *id, lanes)?[lanes.trailing_zeros() as usize] as u32;
                let lane = lanes.trailing_zeros() as usize;
                let threads = threads.map(|threads| self.fetch(warp, threads, lanes)).transpose()?;
                let threads = threads.map(|threads| threads[lane] as u32);
                if id > 15 || threads.is_some_and(|n| n == 0 || n % 32 != 0) {
                    let message = format!("barrier {id} for {threads:?} threads");
                    return Err(Trap::new(FaultKind::Operand, lane as u32, message));
                }
                let Some(frame) = self.warps[warp].top() else { return Ok(Flow::Moved) };
                self.warps[warp].go(frame.at + 1);
                self.warps[warp].state = State::Waiting { barrier: id, threads };
                return Ok(Flow::Moved);
            }
            Op::WarpBarrier { mask } => {
                self.named(warp, *mask, lanes)?;
                self.clocks.tick(warp);
            }
            Op::Shuffle { mode, dst, in_range, a, b, c, mask } => {
                self.named(warp, *mask, lanes)?;
                self.shuffle((warp, lanes), *mode, *dst, *in_range, [*a, *b, *c])?;
            }
            Op::Vote { vote, dst, p, mask } => {
                self.named(warp, *mask, lanes)?;
                let holds = self.guard(warp, *p, lanes)?;
                let value = match vote {
                    Vote::All => u64::from(holds == lanes),
                    Vote::Any => u64::from(holds != 0),
                    Vote::Uniform => u64::from(holds == 0 || holds == lanes),
                    Vote::Ballot => holds.into(),
                };
                self.set(warp, *dst, lanes, &[value; 32]);
            }
            Op::ActiveMask { dst } => self.set(warp, *dst, lanes, &[lanes.into(); 32]),
            Op::Reduce { op, ty, dst, a, mask } => {
                self.named(warp, *mask, lanes)?;
                let a = self.fetch(warp, *a, lanes)?;
                let mut values = (0..32).filter(|lane| lanes >> lane & 1 == 1).map(|lane| a[lane]);
                let first = values.next().unwrap_or(0);
                let total = values.try_fold(first, |sum, x| alu::binary(*op, *ty, PLAIN, sum, x));
                let total = total.map_err(|message| Trap::new(FaultKind::Operand, 0, message))?;
                self.set(warp, *dst, lanes, &[total; 32]);
            }
            Op::LoadMatrix { dst, at, transposed } => {
                self.need_warp(lanes, "`ldmatrix`")?;
                let rows = self.rows((warp, lanes), *at, dst.len())?;
                for (part, reg) in dst.iter().enumerate() {
                    let part = &rows[part * 8..part * 8 + 8];
                    let element = |lane: usize, j: usize| {
                        let (row, column) = (lane / 4, lane % 4 * 2 + j);
                        u64::from(if *transposed { part[column][row] } else { part[row][column] })
                    };
                    let values = std::array::from_fn(|lane| element(lane, 0) | element(lane, 1) << 16);
                    self.set(warp, *reg, lanes, &values);
                }
            }
            Op::StoreMatrix { src, at, transposed } => {
                self.need_warp(lanes, "`stmatrix`")?;
                self.store_matrix((warp, lanes), src, *at, *transposed)?;
            }
            Op::ProxyFence => self.shared.fence_proxy(warp),
            Op::WarpgroupFence | Op::WarpgroupMma(_) | Op::WarpgroupCommit | Op::WarpgroupWait(_) => {
                self.need_warp(lanes, "`wgmma`")?;
                self.warpgroup(warp, op)?;
            }
            Op::Mma(mma) => {
                self.need_warp(lanes, "`mma`")?;
                self.mma(warp, mma)?;
            }
            _ => {}
        }
        Ok(Flow::Next)
    }

    /// An instruction that all living threads of a warp must execute together.
    fn need_all(&self, warp: usize, lanes: u32, what: &str) -> Result<(), Trap> {
        let missing = self.warps[warp].alive & !lanes;
        if missing == 0 {
            return Ok(());
        }
        let message = format!("lanes {missing:#010x} of the warp do not reach {what} together with this one");
        Err(Trap::new(FaultKind::Divergence, lanes.trailing_zeros(), message))
    }

    /// An instruction that needs all 32 lanes.
    fn need_warp(&self, lanes: u32, what: &str) -> Result<(), Trap> {
        if lanes == u32::MAX {
            return Ok(());
        }
        let message = format!("{what} needs a whole warp, but only lanes {lanes:#010x} are here");
        Err(Trap::new(FaultKind::Divergence, lanes.trailing_zeros(), message))
    }

    /// Checks that the living lanes that a mask names are those that are here.
    fn named(&self, warp: usize, mask: Operand, lanes: u32) -> Result<(), Trap> {
        let masks = self.fetch(warp, mask, lanes)?;
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            let named = masks[lane] as u32 & self.warps[warp].alive;
            if named != lanes {
                let message = format!("the mask names lanes {named:#010x}, but {lanes:#010x} are here");
                return Err(Trap::new(FaultKind::Divergence, lane as u32, message));
            }
        }
        Ok(())
    }

    /// Section 9.7.9.6.
    fn shuffle(
        &mut self,
        (warp, lanes): (usize, u32),
        mode: ShuffleMode,
        dst: Reg,
        in_range: Option<Reg>,
        operands: [Operand; 3],
    ) -> Result<(), Trap> {
        let [a, b, c] = operands.map(|operand| self.fetch(warp, operand, lanes));
        let (a, b, c) = (a?, b?, c?);
        let (mut values, mut valid) = ([0; 32], [0; 32]);
        for lane in (0..32u32).filter(|lane| lanes >> lane & 1 == 1) {
            let i = lane as usize;
            let (b, clamp, segment) = (b[i] as u32 & 31, c[i] as u32 & 31, c[i] as u32 >> 8 & 31);
            let max = lane & segment | clamp & !segment;
            let min = lane & segment;
            let (from, is_valid) = match mode {
                ShuffleMode::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= max as i32),
                ShuffleMode::Down => (lane + b, lane + b <= max),
                ShuffleMode::Butterfly => (lane ^ b, lane ^ b <= max),
                ShuffleMode::Index => (min | b & !segment, min | b & !segment <= max),
            };
            let from = if is_valid { from } else { lane };
            if lanes >> from & 1 == 0 {
                let message = format!("takes the value of lane {from}, which is not here");
                return Err(Trap::new(FaultKind::Uninitialized, lane, message));
            }
            values[i] = a[from as usize];
            valid[i] = u64::from(is_valid);
        }
        self.set(warp, dst, lanes, &values);
        if let Some(in_range) = in_range {
            self.set(warp, in_range, lanes, &valid);
        }
        Ok(())
    }

    /// Addresses of rows: lane `8 i + j` has that of row `j` of matrix `i`.
    fn row_addresses(&mut self, (warp, lanes): (usize, u32), at: Address, n: usize) -> Result<Lanes, Trap> {
        let base = self.fetch(warp, at.base, lanes)?;
        let addresses = base.map(|base| base.wrapping_add(at.offset as u64) & 0xffff_ffff);
        let used = if n == 4 { u32::MAX } else { (1 << (8 * n)) - 1 };
        self.count_access(Space::Shared, &addresses, used, 16);
        Ok(addresses)
    }

    /// Section 9.7.14.5.15: eight halves of each row of `n` matrices.
    fn rows(&mut self, (warp, lanes): (usize, u32), at: Address, n: usize) -> Result<Vec<[u16; 8]>, Trap> {
        let addresses = self.row_addresses((warp, lanes), at, n)?;
        let mut rows = Vec::with_capacity(8 * n);
        for lane in 0..8 * n as u32 {
            let mut bytes = [0; 16];
            self.read((Who { warp, lane }, Space::Shared), addresses[lane as usize], &mut bytes)?;
            rows.push(std::array::from_fn(|i| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])));
        }
        Ok(rows)
    }

    /// Section 9.7.14.5.16: the inverse of loading.
    fn store_matrix(
        &mut self,
        (warp, lanes): (usize, u32),
        src: &[Operand],
        at: Address,
        transposed: bool,
    ) -> Result<(), Trap> {
        let addresses = self.row_addresses((warp, lanes), at, src.len())?;
        for (part, operand) in src.iter().enumerate() {
            let values = self.fetch(warp, *operand, lanes)?;
            for row in 0..8 {
                let lane = (part * 8 + row) as u32;
                let mut bytes = [0; 16];
                for column in 0..8 {
                    let (r, c) = if transposed { (column, row) } else { (row, column) };
                    let half = (values[r * 4 + c / 2] >> (c % 2 * 16)) as u16;
                    bytes[2 * column..2 * column + 2].copy_from_slice(&half.to_le_bytes());
                }
                self.write((Who { warp, lane }, Space::Shared), addresses[lane as usize], &bytes)?;
            }
        }
        Ok(())
    }
}
