//! Random tree ensembles.

use super::Sample;
use super::random::Random;
use crate::ops::{TreeEnsemble, TreeFn, key_f32, key_f64};
use ic_types::{DType, Tensor};

/// Nodes as `TreeEnsemble` has them, and how many leaves and levels there are.
struct Forest {
    dtype: DType,
    nodes: Vec<[i64; 4]>,
    n_leaves: i64,
    depth: usize,
}

impl Forest {
    /// A place for one more node.
    fn add(&mut self) -> usize {
        self.nodes.push([0; 4]);
        self.nodes.len() - 1
    }

    /// Grows a tree at `at`, which has `levels` above it.
    fn grow(&mut self, r: &mut Random, at: usize, n_features: usize, levels: usize) {
        if n_features == 0 || r.below(4) < levels {
            self.nodes[at] = [at as i64, 0, self.n_leaves, -1];
            self.n_leaves += 1;
            self.depth = self.depth.max(levels);
            return;
        }
        let [lead, _] = [self.add(), self.add()];
        // All keys up to that of a small number, with NaN or without, or just one.
        let (key, least) = match self.dtype {
            DType::F32 => (key_f32(r.between(0, 8) as f32 / 2.0 - 2.0).into(), i64::from(i32::MIN)),
            _ => (key_f64(r.between(0, 8) as f64 / 2.0 - 2.0), i64::MIN),
        };
        let from = match r.below(3) {
            0 => least,
            1 => !least,
            _ => key,
        };
        self.nodes[at] = [lead as i64, r.below(n_features) as i64, from, key.wrapping_sub(from)];
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
        integers(vec![forest.nodes.len(), 4], forest.nodes.concat()),
        integers(vec![roots.len()], roots),
        r.tensor(dtype, &[n_leaves, k]),
    ];
    if some.is_some() {
        operands
            .push(integers(vec![n_leaves, k], (0..n_leaves * k).map(|_| r.below(targets + 1) as i64 - 1).collect()));
    }
    let function = r.pick(&[TreeFn::Sum, TreeFn::Min, TreeFn::Max]);
    Sample::new(TreeEnsemble { function, depth: forest.depth, targets }, operands)
}
