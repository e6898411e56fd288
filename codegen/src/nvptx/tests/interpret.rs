//! Runs a function block by block: threads go on alone until they meet at a barrier or an instruction of whole warps.
//!
//! A warp's instruction at which not all of its threads arrive is a failure, as is a barrier that some have left behind.
//! Asynchronous copies land only when they are waited for, and shared memory holds noise at first, so a missing wait or
//! barrier shows in results.

use super::machine::{Memory, Thread};
use crate::nvptx::ptx::{Function, Instruction, MmaKind, Operand, Space, Ty};
use ic_types::{bf16_to_f32, f16_to_f32};
use std::collections::HashMap;

/// An asynchronous copy: address in shared memory, and the bytes.
type Copy = (u64, [u8; 16]);

/// Copies of a thread that have not been waited for, by group; the last group is open.
#[derive(Clone, Default)]
struct Copies(Vec<Vec<Copy>>);

/// Runs all blocks of a launch. `bases` are the addresses that the kernel gets, in `buffers`.
pub(super) fn run(function: &Function, blocks: u32, bases: &[u64], dims: &[i64], buffers: &mut [Vec<u8>]) {
    assert_eq!((bases.len(), dims.len()), (function.n_buffers, function.n_dims), "parameters");
    let labels: HashMap<u32, usize> = function
        .body
        .iter()
        .enumerate()
        .filter_map(|(at, i)| if let Instruction::Label(label) = i { Some((label.0, at)) } else { None })
        .collect();
    for block in 0..blocks {
        let shared = (0..function.shared_bytes).map(|i| (i * 37 + 11) as u8).collect();
        let mut memory = Memory { buffers, shared };
        let mut threads: Vec<Thread> = (0..function.threads).map(|id| Thread::new(function, id)).collect();
        let mut copies = vec![Copies(vec![Vec::new()]); threads.len()];
        loop {
            for (thread, copies) in threads.iter_mut().zip(&mut copies) {
                alone(function, &labels, block, (bases, dims), thread, copies, &mut memory);
            }
            if !together(function, &mut threads, &mut memory) {
                break;
            }
        }
    }
}

/// Runs a thread until it must wait for others.
fn alone(
    function: &Function,
    labels: &HashMap<u32, usize>,
    block: u32,
    (bases, dims): (&[u64], &[i64]),
    thread: &mut Thread,
    copies: &mut Copies,
    memory: &mut Memory,
) {
    use Instruction as I;
    loop {
        let instruction = &function.body[thread.at];
        match instruction {
            I::Return | I::Barrier | I::Shuffle { .. } | I::LoadMatrix { .. } | I::Mma { .. } => return,
            I::Label(_) => thread.at += 1,
            I::Branch { to, guard } => {
                let taken = guard.is_none_or(|(p, when)| (thread.get(p) == 1) == when);
                thread.at = if taken { labels[&to.0] } else { thread.at + 1 };
            }
            I::Load { space, ty, dst, base, offset, guard } => {
                if guard.is_none_or(|p| thread.get(p) == 1) {
                    let address = at(thread, *space, *base, *offset);
                    let size = ty.bytes() as usize;
                    let bytes = memory.bytes(*space, address, size * dst.len()).to_vec();
                    for (&reg, element) in dst.iter().zip(bytes.chunks(size)) {
                        let mut wide = [0; 8];
                        wide[..size].copy_from_slice(element);
                        let bits = u64::from_le_bytes(wide);
                        let bits = match ty {
                            Ty::S8 => bits as i8 as u64,
                            Ty::S16 => bits as i16 as u64,
                            _ => bits,
                        };
                        thread.set(reg, bits);
                    }
                }
                thread.at += 1;
            }
            I::Store { space, ty, src, base, offset, guard } => {
                if guard.is_none_or(|p| thread.get(p) == 1) {
                    let address = at(thread, *space, *base, *offset);
                    let size = ty.bytes() as usize;
                    let bytes: Vec<u8> =
                        src.iter().flat_map(|&r| thread.get(r).to_le_bytes()[..size].to_vec()).collect();
                    memory.bytes(*space, address, bytes.len()).copy_from_slice(&bytes);
                }
                thread.at += 1;
            }
            I::CopyAsync { to, offset, from, bytes } => {
                let mut data = [0; 16];
                let n = thread.value(*bytes) as usize;
                assert!(n <= 16 && thread.get(*from).is_multiple_of(16), "a copy of {n} bytes");
                if n > 0 {
                    let source = thread.get(*from);
                    data[..n].iter_mut().zip(source..).for_each(|(b, a)| *b = memory.bytes(Space::Global, a, 1)[0]);
                }
                let address = at(thread, Space::Shared, *to, *offset);
                copies.0.last_mut().unwrap().push((address, data));
                thread.at += 1;
            }
            I::CommitGroup => {
                copies.0.push(Vec::new());
                thread.at += 1;
            }
            I::WaitGroup(pending) => {
                let landed = copies.0.len().saturating_sub(1 + *pending as usize);
                for (address, data) in copies.0.drain(..landed).flatten() {
                    memory.bytes(Space::Shared, address, 16).copy_from_slice(&data);
                }
                thread.at += 1;
            }
            other => thread.step(other, block, dims, bases),
        }
    }
}

fn at(thread: &Thread, space: Space, base: Operand, offset: i32) -> u64 {
    let address = (thread.value(base) as i64).wrapping_add(offset.into()) as u64;
    if space == Space::Shared { address & 0xffff_ffff } else { address }
}

/// Runs what whole warps do, or lets threads pass a barrier. False when all have returned.
fn together(function: &Function, threads: &mut [Thread], memory: &mut Memory) -> bool {
    let mut all_at_barrier = true;
    let mut advanced = false;
    for warp in threads.chunks_mut(32) {
        let first = warp[0].at;
        match &function.body[first] {
            Instruction::Return => {
                assert!(warp.iter().all(|t| t.at == first), "threads of a warp return while others wait");
                continue;
            }
            Instruction::Barrier => continue,
            instruction => {
                assert!(warp.iter().all(|t| t.at == first), "not all threads of a warp are at {instruction:?}");
                collective(instruction, warp, memory);
                warp.iter_mut().for_each(|t| t.at += 1);
                (all_at_barrier, advanced) = (false, true);
            }
        }
    }
    if advanced {
        return true;
    }
    let is_barrier = |t: &Thread| matches!(function.body[t.at], Instruction::Barrier);
    if !threads.iter().any(is_barrier) {
        return false;
    }
    assert!(all_at_barrier && threads.iter().all(is_barrier), "not all threads are at the barrier");
    assert!(threads.iter().all(|t| t.at == threads[0].at), "threads are at different barriers");
    threads.iter_mut().for_each(|t| t.at += 1);
    true
}

fn collective(instruction: &Instruction, warp: &mut [Thread], memory: &mut Memory) {
    match instruction {
        Instruction::Shuffle { dst, src, mask } => {
            let values: Vec<u64> = warp.iter().map(|t| t.get(*src)).collect();
            for (lane, thread) in warp.iter_mut().enumerate() {
                thread.set(*dst, values[lane ^ *mask as usize]);
            }
        }
        Instruction::LoadMatrix { dst, base, offset, transposed } => {
            // Lane 8 i + j has the address of row j of part i; a thread gets two neighbours of row `lane / 4`.
            let rows: Vec<[u16; 8]> = warp
                .iter()
                .map(|t| {
                    let address = at(t, Space::Shared, (*base).into(), *offset);
                    let bytes = memory.bytes(Space::Shared, address, 16);
                    std::array::from_fn(|i| u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]))
                })
                .collect();
            for (part, &reg) in dst.iter().enumerate() {
                let part = &rows[part * 8..part * 8 + 8];
                for (lane, thread) in warp.iter_mut().enumerate() {
                    let element = |j: usize| {
                        let (row, column) = (lane / 4, lane % 4 * 2 + j);
                        u64::from(if *transposed { part[column][row] } else { part[row][column] })
                    };
                    thread.set(reg, element(0) | element(1) << 16);
                }
            }
        }
        Instruction::Mma { kind, acc, a, b } => {
            let value = |bits: u64| match kind {
                MmaKind::F16 => f16_to_f32(bits as u16),
                MmaKind::Bf16 => bf16_to_f32(bits as u16),
            };
            // Section 9.7.14.5.8, by element: which lane has it, in which register, in which half.
            let left = |m: usize, k: usize| {
                let (lane, reg) = (m % 8 * 4 + k % 8 / 2, a[m / 8 + k / 8 * 2]);
                value(warp[lane].get(reg) >> (k % 2 * 16) & 0xffff)
            };
            let right = |k: usize, n: usize| {
                let (lane, reg) = (n * 4 + k % 8 / 2, b[k / 8]);
                value(warp[lane].get(reg) >> (k % 2 * 16) & 0xffff)
            };
            let place = |m: usize, n: usize| (m % 8 * 4 + n / 2, acc[m / 8 * 2 + n % 2]);
            let mut sums = Vec::new();
            for (m, n) in (0..16).flat_map(|m| (0..8).map(move |n| (m, n))) {
                let (lane, reg) = place(m, n);
                let start = f32::from_bits(warp[lane].get(reg) as u32);
                sums.push((m, n, (0..16).fold(start, |sum, k| left(m, k).mul_add(right(k, n), sum))));
            }
            for (m, n, sum) in sums {
                let (lane, reg) = place(m, n);
                warp[lane].set(reg, sum.to_bits().into());
            }
        }
        other => panic!("{other:?} is not of a warp"),
    }
}
