//! `tree_ensemble`: decision trees.
//!
//! What a step costs is waiting for the node and the feature that the last one named, so several walks that do not depend
//! on each other take turns: rows down one tree while its nodes are near, or, for the rows that are left over, one
//! row down as many trees. Weights are added in the order of the trees either way.

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::args::{Args, error, kernels};
use super::codes::TreeFunction;
use super::element::Element;
use super::split::{MIN_WORK, Shared};
use crate::abi::{KernelError, Operand};
use crate::isa::Isa;
use ic_types::DType;
use std::sync::atomic::{AtomicBool, Ordering};

kernels! {
    /// For each row of `x[n, features]` and each target, the weights of the leaves that it reaches from `roots`, put together
    /// as the code `function` of a `TreeFunction` says.
    ///
    /// Nodes are `(lead, feature, from, span)`, integers of the width of `x`: where the feature's key is at most `span` from
    /// `from` on, counted without signs, `lead` is next, else the node after it. A key is the bits of the magnitude, negated
    /// for negative numbers, and the largest integer for NaN. A leaf leads to itself; its `from` is its line in `weights` and
    /// `targets`, where -1 is for no target, or in `weights` for all targets in order. No leaf is more than `depth` steps from its root.
    TREE_ENSEMBLE = "tree_ensemble" ["x", "nodes", "roots", "weights", "targets"] -> ["y"] {"function", "depth"},
        tree_ensemble,
        scratch = |operands: &[Operand], _: &[i64], threads: usize| {
            let x = operands.first();
            let rows = x.map_or([0, 0], |x| [x.shape.first(), x.shape.get(1)].map(|d| d.map_or(0, |&d| d.max(0) as usize)));
            let size = x.and_then(|x| x.dtype.size()).unwrap_or(0);
            block_rows(rows).saturating_mul(columns(rows[1])).saturating_mul(threads).saturating_mul(size)
        };
}

/// Walks of rows down one tree that take turns.
const LANES: usize = 8;

/// Walks of one row down trees that take turns: more, as their nodes are farther away.
const TREES: usize = 16;

/// Walks that take turns where there are instructions for it.
#[cfg(target_arch = "x86_64")]
const MANY: usize = avx512::WALKS;
#[cfg(not(target_arch = "x86_64"))]
const MANY: usize = 64;

/// Keys of a block of rows at most: what stays in the first-level cache beside a tree.
const BLOCK_KEYS: usize = 4096;

/// Rows whose keys are kept at a time.
fn block_rows([n, features]: [usize; 2]) -> usize {
    let rows = (BLOCK_KEYS / columns(features)).clamp(LANES, 2 * MANY);
    (if rows < MANY { rows / LANES * LANES } else { rows / MANY * MANY }).min(n)
}

/// Keys that are kept of a row: at least the one that leaves name.
fn columns(features: usize) -> usize {
    features.max(1)
}

/// A number that trees compare by its key.
trait Feature: Element + PartialOrd + std::ops::AddAssign {
    /// An integer of the same width.
    type Key: Element;

    /// See [`TREE_ENSEMBLE`].
    fn key(self) -> Self::Key;

    /// Where a row with feature values `key(feature)` goes from a node. `None` if there is no such feature.
    fn next(node: &[Self::Key; 4], key: impl Fn(usize) -> Option<Self::Key>) -> Option<u32>;

    /// The leaves at which many walks from `at` end, if there are instructions for it; each has `columns` keys. If `apart`,
    /// keys are those of [`LANES`] rows side by side for each column, so many rows after so many; else all walks have the
    /// same. `None` inside if a walk leaves the tables.
    fn many_leaves(
        _nodes: &[[Self::Key; 4]],
        _depth: usize,
        _at: &[u32; MANY],
        _keys: &[Self::Key],
        _columns: usize,
        _apart: bool,
    ) -> Option<Option<[u32; MANY]>> {
        None
    }

    /// A key as a place.
    fn place(key: Self::Key) -> usize;

    /// What a result of [`TreeFunction::Min`] or [`TreeFunction::Max`] begins with.
    const NAN: Self;
}

macro_rules! feature {
    ($float:ty, $key:ty, $unsigned:ty $(, $many:item)?) => {
        impl Feature for $float {
            type Key = $key;

            #[inline(always)]
            fn key(self) -> $key {
                let bits = self.to_bits() as $key;
                let magnitude = bits & <$key>::MAX;
                let signed = if bits < 0 { -magnitude } else { magnitude };
                if magnitude > <$float>::INFINITY.to_bits() as $key { <$key>::MAX } else { signed }
            }

            #[inline(always)]
            fn next(&[lead, feature, from, span]: &[$key; 4], key: impl Fn(usize) -> Option<$key>) -> Option<u32> {
                let distance = key(feature as $unsigned as usize)?.wrapping_sub(from) as $unsigned;
                Some(lead.wrapping_add((distance > span as $unsigned) as $key) as u32)
            }

            #[inline(always)]
            fn place(key: $key) -> usize {
                key as $unsigned as usize
            }

            const NAN: $float = <$float>::NAN;

            $($many)?
        }
    };
}

feature! {
    f32, i32, u32,
    #[cfg(target_arch = "x86_64")]
    fn many_leaves(
        nodes: &[[i32; 4]],
        depth: usize,
        at: &[u32; MANY],
        keys: &[i32],
        columns: usize,
        apart: bool,
    ) -> Option<Option<[u32; MANY]>> {
        // SAFETY: the processor has what the function is compiled for.
        (Isa::detect() == Isa::Avx512).then(|| unsafe { avx512::leaves(nodes, depth, at, keys, columns, apart) })
    }
}
feature! { f64, i64, u64 }

/// The tables of a call.
struct Trees<'a, T: Feature> {
    nodes: &'a [[T::Key; 4]],
    roots: &'a [T::Key],
    weights: &'a [T],
    targets: Option<&'a [T::Key]>,
    /// Weights of a leaf.
    k: usize,
    function: TreeFunction,
    depth: usize,
}

impl<T: Feature> Trees<'_, T> {
    /// The leaves at which walks from `at` end; each lane `i` walks for the row of which `keys` holds a column, `i % W`.
    /// `None` if a walk leaves the tables.
    ///
    /// A function of its own, as its loop needs all registers.
    #[inline(never)]
    fn leaves<const N: usize, const W: usize>(&self, mut at: [u32; N], keys: &[[T::Key; W]]) -> Option<[usize; N]> {
        for _ in 0..self.depth {
            let mut moved = 0;
            for (lane, at) in at.iter_mut().enumerate() {
                let next = T::next(self.nodes.get(*at as usize)?, |feature| Some(keys.get(feature)?[lane % W]))?;
                moved |= next ^ *at;
                *at = next;
            }
            if moved == 0 {
                break;
            }
        }
        let mut leaves = [0; N];
        for (leaf, at) in leaves.iter_mut().zip(at) {
            *leaf = T::place(self.nodes.get(at as usize)?[2]);
        }
        Some(leaves)
    }

    /// See [`Feature::many_leaves`].
    fn many(&self, at: &[u32; MANY], keys: &[T::Key], columns: usize, apart: bool) -> Option<Option<[u32; MANY]>> {
        T::many_leaves(self.nodes, self.depth, at, keys, columns, apart)
    }

    /// Adds the weights of a leaf to the results of each of the first rows of `y`, and returns how many there are.
    fn add_rows<const N: usize>(&self, y: &mut [T], targets: usize, leaves: [usize; N]) -> Option<usize> {
        y.chunks_exact_mut(targets).zip(leaves).try_for_each(|(y, leaf)| self.add(y, leaf))?;
        Some(N)
    }

    /// Adds the weights of `leaf` to the results of a row. `None` if it has none.
    #[inline(always)]
    fn add(&self, y: &mut [T], leaf: usize) -> Option<()> {
        let first = leaf.checked_mul(self.k)?;
        let weights = self.weights.get(first..)?.get(..self.k)?;
        for (i, &weight) in weights.iter().enumerate() {
            let target = match self.targets {
                None => i,
                Some(targets) => T::place(*targets.get(first + i)?),
            };
            let Some(y) = y.get_mut(target) else { continue };
            match self.function {
                TreeFunction::Sum => *y += weight,
                TreeFunction::Min if weight >= *y => {}
                TreeFunction::Max if weight <= *y => {}
                TreeFunction::Min | TreeFunction::Max => *y = weight,
            }
        }
        Some(())
    }

    /// Results `y [rows, targets]` of `x [rows, features]`. `keys` has room for as many. `None` if tables do not fit together.
    fn run(&self, x: &[T], keys: &mut [T::Key], features: usize, y: &mut [T], targets: usize) -> Option<()> {
        y.fill(if self.function == TreeFunction::Sum { T::default() } else { T::NAN });
        let (n, columns) = (y.len() / targets, columns(features));
        let together = n - n % LANES;
        let (groups, singles) = keys.split_at_mut(together * columns);
        let (groups, singles) = (groups.as_chunks_mut::<LANES>().0, singles.as_chunks_mut::<1>().0);
        for (row, x) in x.chunks_exact(columns).enumerate() {
            match row.checked_sub(together) {
                Some(single) => singles[single * columns..].iter_mut().zip(x).for_each(|(key, x)| *key = [x.key()]),
                None => {
                    let keys = &mut groups[row / LANES * columns..];
                    keys.iter_mut().zip(x).for_each(|(key, x)| key[row % LANES] = x.key());
                }
            }
        }
        let (y_together, y_single) = y.split_at_mut(together * targets);
        for &root in self.roots {
            let root = T::place(root) as u32;
            let mut row = 0;
            while row < together {
                let (keys, y) = (&groups[row / LANES * columns..], &mut y_together[row * targets..]);
                let many = if together - row < MANY {
                    None
                } else {
                    self.many(&[root; MANY], keys.as_flattened(), columns, true)
                };
                row += match many {
                    Some(leaves) => self.add_rows(y, targets, leaves?.map(|leaf| leaf as usize))?,
                    None => self.add_rows(y, targets, self.leaves([root; LANES], &keys[..columns])?)?,
                };
            }
        }
        for (row, y) in y_single.chunks_exact_mut(targets).enumerate() {
            let keys = &singles[row * columns..][..columns];
            let mut roots = self.roots;
            while let Some((&many, rest)) = roots.split_first_chunk::<MANY>()
                && let Some(leaves) =
                    self.many(&many.map(|root| T::place(root) as u32), keys.as_flattened(), columns, false)
            {
                leaves?.into_iter().try_for_each(|leaf| self.add(y, leaf as usize))?;
                roots = rest;
            }
            let (some, rest) = roots.as_chunks::<TREES>();
            for roots in some {
                let leaves = self.leaves(roots.map(|root| T::place(root) as u32), keys)?;
                leaves.into_iter().try_for_each(|leaf| self.add(y, leaf))?;
            }
            for &root in rest {
                let [leaf] = self.leaves([T::place(root) as u32], keys)?;
                self.add(y, leaf)?;
            }
        }
        if self.function != TreeFunction::Sum {
            y.iter_mut().filter(|y| y.partial_cmp(y).is_none()).for_each(|y| *y = T::default());
        }
        Some(())
    }
}

fn tree_ensemble(args: &mut Args) -> Result<(), KernelError> {
    match args.dtype(0)? {
        DType::F64 => predict::<f64>(args),
        _ => predict::<f32>(args),
    }
}

fn predict<T: Feature>(args: &mut Args) -> Result<(), KernelError> {
    let (x_shape, y_shape, weights_shape) = (args.shape(0)?, args.output_shape(0)?, args.shape(3)?);
    let (&[n, features], &[y_n, targets], &[leaves, k]) = (&x_shape[..], &y_shape[..], &weights_shape[..]) else {
        return Err(error("expected x of shape [n, features], weights [leaves, k] and y [n, targets]"));
    };
    let trees = Trees {
        nodes: args.input::<T::Key>(1)?.as_chunks().0,
        roots: args.input::<T::Key>(2)?,
        weights: args.input::<T>(3)?,
        targets: args.optional::<T::Key>(4)?,
        k,
        function: TreeFunction::from_code(args.attr(0)?)?,
        depth: args.extent(1)?,
    };
    if n != y_n || trees.targets.map_or(k != targets, |targets| targets.len() != leaves * k) {
        return Err(error(format!("{k} weights of a leaf do not fit y {:?} of x {:?}", &y_shape[..], &x_shape[..])));
    }
    let x = args.input::<T>(0)?;
    let (pool, block) = (args.pool(), block_rows([n, features]));
    let block_keys = block * columns(features);
    // SAFETY: `scratch` asked for a block of keys for each thread; this is the only use.
    let keys = unsafe { args.scratch::<T::Key>(pool.threads() * block_keys) };
    let y = args.output::<T>()?;
    if y.is_empty() {
        return Ok(());
    }
    let (keys, y, failed) = (Shared::new(keys), Shared::new(y), AtomicBool::new(false));
    let rows = |rows: std::ops::Range<usize>, thread: usize| {
        // SAFETY: Each thread has keys of its own.
        let keys = unsafe { keys.part(thread * block_keys..(thread + 1) * block_keys) };
        for first in rows.clone().step_by(block) {
            let last = rows.end.min(first + block);
            // SAFETY: Threads have rows of their own, and these are below `n`.
            let y = unsafe { y.part(first * targets..last * targets) };
            if trees.run(&x[first * features..last * features], keys, features, y, targets).is_none() {
                failed.store(true, Ordering::Relaxed);
                return;
            }
        }
    };
    let steps = n.saturating_mul(trees.roots.len()).saturating_mul(trees.depth);
    if n == 1 || pool.threads() == 1 || steps < MIN_WORK {
        rows(0..n, 0);
    } else {
        pool.run(n, &rows);
    }
    if failed.into_inner() { Err(error("a tree leads outside of its tables")) } else { Ok(()) }
}
