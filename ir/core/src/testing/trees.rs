//! Random tree ensembles.

use super::Sample;
use super::random::Random;
use crate::ops::{TreeEnsemble, TreeFn, key_f32, key_f64};
use ic_types::{DType, Tensor};

/// Of up to three features.
const COLUMN_BITS: usize = 3;

/// Nodes as `TreeEnsemble` has them, and how many leaves and levels there are.
struct Forest {
    dtype: DType,
    nodes: Vec<[i64; 2]>,
    n_leaves: i64,
    depth: usize,
}

impl Forest {
    /// A place for one more node.
    fn add(&mut self) -> usize {
        self.nodes.push([0; 2]);
        self.nodes.len() - 1
    }

    /// Grows a tree at `at`, which has `levels` above it.
    fn grow(&mut self, r: &mut Random, at: usize, n_features: usize, levels: usize) {
        if n_features == 0 || r.below(4) < levels {
            self.nodes[at] = [self.n_leaves, 0];
            self.n_leaves += 1;
            self.depth = self.depth.max(levels);
            return;
        }
        let [lead, _] = [self.add(), self.add()];
        // All keys up to that of a small number, with NaN or without.
        let key = match self.dtype {
            DType::F32 => key_f32(r.between(0, 8) as f32 / 2.0 - 2.0, false).into(),
            _ => key_f64(r.between(0, 8) as f64 / 2.0 - 2.0, false),
        };
        let column = r.below(1 + 2 * n_features);
        self.nodes[at] = [key, ((lead - at) << COLUMN_BITS | column) as i64];
        self.grow(r, lead, n_features, levels + 1);
        self.grow(r, lead + 1, n_features, levels + 1);
    }
}

pub(super) fn tree_ensemble(r: &mut Random) -> Sample {
    let (dtype, n_features) = (r.pick(&[DType::F32, DType::F64]), r.below(4));
    let mut forest = Forest { dtype, nodes: Vec::new(), n_leaves: 0, depth: 0 };
    let mut roots = Vec::new();
    for _ in 0..r.below(100) {
        let root = forest.add();
        roots.push(root as i64);
        forest.grow(r, root, n_features, 0);
    }
    let (targets, n_leaves) = (r.between(1, 3), forest.n_leaves as usize);
    let integers = |shape: Vec<usize>, list: Vec<i64>| match dtype {
        DType::F32 => Tensor::from_elements(shape, list.into_iter().map(|x| x as i32).collect()),
        _ => Tensor::from_elements(shape, list),
    };
    let some = r.flag().then(|| r.between(1, 2));
    let k = some.unwrap_or(targets);
    let rows = r.below(150);
    let mut operands = vec![
        r.tensor(dtype, &[rows, n_features]),
        integers(vec![forest.nodes.len(), 2], forest.nodes.concat()),
        integers(vec![roots.len()], roots),
        r.tensor(dtype, &[n_leaves, k]),
    ];
    if some.is_some() {
        operands
            .push(integers(vec![n_leaves, k], (0..n_leaves * k).map(|_| r.below(targets + 1) as i64 - 1).collect()));
    }
    let function = r.pick(&[TreeFn::Sum, TreeFn::Min, TreeFn::Max]);
    Sample::new(TreeEnsemble { function, column_bits: COLUMN_BITS, depth: forest.depth, targets }, operands)
}
