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
    /// Nodes are `(split, step)`, integers of the width of `x`. The low `column_bits` of a step are a column, the others an
    /// offset: where the key of that column is at most `split`, the next node is as many after this one, else one more. Column
    /// 0 has the least integer, and columns `1 + 2f` and `2 + 2f` feature f's key: the bits of the magnitude, negated for
    /// negative numbers, and for NaN the largest integer or the least. A leaf has step 0; its `split` is its line in `weights`
    /// and `targets`, where -1 is for no target, or in `weights` for all targets in order. No leaf is more than `depth` steps
    /// from its root.
    TREE_ENSEMBLE = "tree_ensemble" ["x", "nodes", "roots", "weights", "targets"] -> ["y"] {"function", "column_bits", "depth"},
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
const BLOCK_KEYS: usize = 8192;

/// Rows whose keys are kept at a time.
fn block_rows([n, features]: [usize; 2]) -> usize {
    let rows = (BLOCK_KEYS / columns(features)).clamp(LANES, 2 * MANY);
    (if rows < MANY { rows / LANES * LANES } else { rows / MANY * MANY }).min(n)
}

/// Keys that are kept of a row.
fn columns(features: usize) -> usize {
    features.saturating_mul(2).saturating_add(1)
}

/// Keys of a tree's columns, and where they lie.
#[derive(Clone, Copy)]
struct Keys<'a, K> {
    keys: &'a [K],
    /// Columns of a row.
    columns: usize,
    /// Whether each column is of [`LANES`] rows side by side, so many rows after so many; else all walks are of one row.
    apart: bool,
}

/// A number that trees compare by its key.
trait Feature: Element + PartialOrd + std::ops::AddAssign {
    /// An integer of the same width.
    type Key: Element;

    /// Column 0; see [`TREE_ENSEMBLE`].
    const LEAST: Self::Key;

    /// The two columns of a number; see [`TREE_ENSEMBLE`].
    fn keys(self) -> [Self::Key; 2];

    /// Where a row with keys `key(column)` goes from a node. `None` if there is no such column.
    fn next(node: &[Self::Key; 2], at: u32, column_bits: u32, key: impl Fn(usize) -> Option<Self::Key>) -> Option<u32>;

    /// The leaves at which many walks from `at` end, if there are instructions for it. `None` inside if a walk leaves the
    /// tables.
    fn many_leaves(_trees: &Trees<Self>, _at: &[u32; MANY], _keys: Keys<Self::Key>) -> Option<Option<[u32; MANY]>> {
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

            const LEAST: $key = <$key>::MIN;

            #[inline(always)]
            fn keys(self) -> [$key; 2] {
                let bits = self.to_bits() as $key;
                let magnitude = bits & <$key>::MAX;
                let signed = if bits < 0 { -magnitude } else { magnitude };
                let is_nan = magnitude > <$float>::INFINITY.to_bits() as $key;
                if is_nan { [<$key>::MAX, <$key>::MIN] } else { [signed; 2] }
            }

            #[inline(always)]
            fn next(
                &[split, step]: &[$key; 2],
                at: u32,
                column_bits: u32,
                key: impl Fn(usize) -> Option<$key>,
            ) -> Option<u32> {
                let column = step as $unsigned & !(<$unsigned>::MAX << column_bits);
                let is_beyond = key(column as usize)? > split;
                Some(at.wrapping_add((step >> column_bits) as u32).wrapping_add(is_beyond as u32))
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
    fn many_leaves(trees: &Trees<f32>, at: &[u32; MANY], keys: Keys<i32>) -> Option<Option<[u32; MANY]>> {
        // SAFETY: the processor has what the function is compiled for.
        (Isa::detect() == Isa::Avx512).then(|| unsafe { avx512::leaves(trees, at, keys) })
    }
}
feature! { f64, i64, u64 }

/// The tables of a call.
struct Trees<'a, T: Feature> {
    nodes: &'a [[T::Key; 2]],
    roots: &'a [T::Key],
    weights: &'a [T],
    targets: Option<&'a [T::Key]>,
    /// Weights of a leaf.
    k: usize,
    function: TreeFunction,
    column_bits: u32,
    depth: usize,
}

impl<T: Feature> Trees<'_, T> {
    /// The leaves at which walks from `at` end; each lane `i` walks for the row of which `keys` holds a column, `i % W`.
    /// `None` if a walk leaves the tables.
    ///
    /// A function of its own, as its loop needs all registers.
    #[inline(never)]
    fn leaves<const N: usize, const W: usize>(&self, mut at: [u32; N], keys: &[[T::Key; W]]) -> Option<[u32; N]> {
        for _ in 0..self.depth {
            let mut moved = 0;
            for (lane, at) in at.iter_mut().enumerate() {
                let node = self.nodes.get(*at as usize)?;
                let next = T::next(node, *at, self.column_bits, |column| Some(keys.get(column)?[lane % W]))?;
                moved |= next ^ *at;
                *at = next;
            }
            if moved == 0 {
                break;
            }
        }
        let mut leaves = [0; N];
        for (leaf, at) in leaves.iter_mut().zip(at) {
            *leaf = T::place(self.nodes.get(at as usize)?[0]) as u32;
        }
        Some(leaves)
    }

    /// Whether each leaf has one weight, which is added to the one result.
    fn is_single_sum(&self, targets: usize) -> bool {
        self.k == 1 && targets == 1 && self.targets.is_none() && self.function == TreeFunction::Sum
    }

    /// Adds the weights of a leaf to the results of each of the first rows of `y`.
    fn add_rows(&self, y: &mut [T], targets: usize, leaves: &[u32]) -> Option<()> {
        if self.is_single_sum(targets) {
            for (y, &leaf) in y.iter_mut().zip(leaves) {
                *y += *self.weights.get(leaf as usize)?;
            }
            return Some(());
        }
        y.chunks_exact_mut(targets).zip(leaves).try_for_each(|(y, &leaf)| self.add(y, leaf as usize))
    }

    /// Adds the weights of leaves to the results of a row, one after the other.
    fn add_leaves(&self, y: &mut [T], leaves: &[u32]) -> Option<()> {
        if self.is_single_sum(y.len()) {
            let mut sum = y[0];
            for &leaf in leaves {
                sum += *self.weights.get(leaf as usize)?;
            }
            y[0] = sum;
            return Some(());
        }
        leaves.iter().try_for_each(|&leaf| self.add(y, leaf as usize))
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

    /// Adds to the results of a row with these keys the weights of the leaves below `roots`.
    fn walk_row(&self, y: &mut [T], roots: &[T::Key], keys: &[[T::Key; 1]]) -> Option<()> {
        let (some, rest) = roots.as_chunks::<TREES>();
        for roots in some {
            self.add_leaves(y, &self.leaves(roots.map(|root| T::place(root) as u32), keys)?)?;
        }
        rest.iter().try_for_each(|&root| self.add_leaves(y, &self.leaves([T::place(root) as u32], keys)?))
    }

    /// Results `y [rows, targets]` of `x [rows, features]`. `keys` has room for as many. `None` if tables do not fit together.
    fn run(&self, x: &[T], keys: &mut [T::Key], features: usize, y: &mut [T], targets: usize) -> Option<()> {
        y.fill(if self.function == TreeFunction::Sum { T::default() } else { T::NAN });
        let (n, columns) = (y.len() / targets, columns(features));
        let together = n - n % LANES;
        let (groups, singles) = keys.split_at_mut(together * columns);
        let (groups, singles) = (groups.as_chunks_mut::<LANES>().0, singles.as_chunks_mut::<1>().0);
        for row in 0..n {
            let keys = x[row * features..][..features].iter().flat_map(|x| x.keys());
            let keys = std::iter::once(T::LEAST).chain(keys);
            match row.checked_sub(together) {
                Some(single) => singles[single * columns..].iter_mut().zip(keys).for_each(|(to, key)| *to = [key]),
                None => {
                    let group = &mut groups[row / LANES * columns..];
                    group.iter_mut().zip(keys).for_each(|(to, key)| to[row % LANES] = key);
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
                    T::many_leaves(self, &[root; MANY], Keys { keys: keys.as_flattened(), columns, apart: true })
                };
                match many {
                    Some(leaves) => {
                        self.add_rows(y, targets, &leaves?)?;
                        row += MANY;
                    }
                    None => {
                        self.add_rows(y, targets, &self.leaves([root; LANES], &keys[..columns])?)?;
                        row += LANES;
                    }
                }
            }
        }
        for (row, y) in y_single.chunks_exact_mut(targets).enumerate() {
            let keys = &singles[row * columns..][..columns];
            for roots in self.roots.chunks(MANY) {
                let many = if roots.len() < TREES {
                    None
                } else {
                    // Walks that are left over go down the first of the trees.
                    let mut at = [T::place(roots[0]) as u32; MANY];
                    at.iter_mut().zip(roots).for_each(|(at, &root)| *at = T::place(root) as u32);
                    T::many_leaves(self, &at, Keys { keys: keys.as_flattened(), columns, apart: false })
                };
                match many {
                    Some(leaves) => self.add_leaves(y, &leaves?[..roots.len()])?,
                    None => self.walk_row(y, roots, keys)?,
                }
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
        column_bits: u32::try_from(args.extent(1)?)
            .ok()
            .filter(|bits| *bits < 32)
            .ok_or_else(|| error("too many columns"))?,
        depth: args.extent(2)?,
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
