//! Attention: the same bits on every instruction set and number of threads, and close to f64.

use super::harness::{Random, Tensor, Threads, assert_same_bits};
use crate::abi::{Call, Operand, Parallel, Serial};
use crate::host::Host;
use crate::isa::Isa;
use crate::table::find;
use ic_types::DType;

/// A mask that broadcasts to the scores.
#[derive(Clone)]
enum Mask {
    Added(Tensor),
    /// 1 where a key is seen.
    Seen(Tensor),
}

/// A call: queries, keys, values and mask with the same number of axes.
#[derive(Clone)]
struct Case {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Mask>,
    y: Tensor,
    scale: f32,
    softcap: f32,
    fill: f32,
    nan_is_zero: bool,
    causal: Option<i64>,
}

impl Case {
    fn new(q: Tensor, k: Tensor, v: Tensor) -> Case {
        let rank = q.shape.len();
        let mut shape: Vec<usize> = (0..rank).map(|i| q.shape[i].max(k.shape[i]) as usize).collect();
        shape[rank - 2] = q.shape[rank - 2] as usize;
        shape[rank - 1] = v.shape[rank - 1] as usize;
        let y = Tensor::unset(&shape);
        let (fill, nan_is_zero) = (f32::NEG_INFINITY, false);
        Case { q, k, v, mask: None, y, scale: 0.25, softcap: 0.0, fill, nan_is_zero, causal: None }
    }

    /// Random queries `[b, h, m, d]`, keys and values of `shared` heads fewer.
    fn random([b, h, m, n]: [usize; 4], [d, e]: [usize; 2], random: &mut Random) -> Case {
        let tensor = |shape: [usize; 4], random: &mut Random| Tensor::random(&shape, random);
        Case::new(tensor([b, h, m, d], random), tensor([b, h, n, d], random), tensor([b, h, n, e], random))
    }

    fn attrs(&self) -> [i64; 6] {
        let [scale, softcap, fill] = [self.scale, self.softcap, self.fill].map(|x| i64::from(x.to_bits()));
        [scale, softcap, fill, self.nan_is_zero.into(), self.causal.is_some().into(), self.causal.unwrap_or(0)]
    }

    fn run(&self, isa: Isa, pool: &dyn Parallel) -> Vec<f32> {
        let Case { mut q, mut k, mut v, mut y, mask, .. } = self.clone();
        let mut bytes: Vec<u8> = Vec::new();
        let mut tensor = Tensor { data: vec![], shape: vec![], strides: vec![] };
        if let Some(Mask::Added(given) | Mask::Seen(given)) = mask.clone() {
            bytes = given.data.iter().map(|&x| u8::from(x != 0.0)).collect();
            tensor = given;
        }
        let mut mask_operand = tensor.operand();
        if let Some(Mask::Seen(_)) = mask {
            mask_operand = Operand { data: bytes.as_mut_ptr(), dtype: DType::Bool, ..mask_operand };
        }
        let attrs = self.attrs();
        let operands = [q.operand(), k.operand(), v.operand(), mask_operand, y.operand()];
        let kernel = find("f32_attention", 0, isa).expect("exists");
        let len = (kernel.scratch)(&operands, &attrs, pool.threads());
        let mut scratch = vec![0xffu8; len + 128];
        let start = scratch.as_ptr().align_offset(64);
        let data = scratch[start..].as_mut_ptr();
        let call = Call {
            operands: &operands,
            attrs: &attrs,
            epilogue: &[],
            callback: None,
            scratch: data,
            pool,
            pieces: false,
            host: Host::none(),
        };
        // SAFETY: the operands are valid and the scratch has the size that the kernel asked for.
        unsafe { (kernel.run)(&call) }.expect("runs");
        assert!(scratch[start + len..].iter().all(|&byte| byte == 0xff), "attention wrote past its scratch");
        y.data
    }

    /// The result, the same everywhere.
    fn result(&self) -> Vec<f32> {
        let expected = self.run(Isa::Portable, &Serial);
        for isa in Isa::supported() {
            for threads in [1, 2, 3] {
                assert_same_bits(&self.run(isa, &Threads(threads)), &expected, &isa.name());
            }
        }
        expected
    }

    /// The row at `index`, whose last entry is not looked at.
    fn exact(&self, index: &[usize]) -> Vec<f64> {
        let (n, e) = (self.k.shape[index.len() - 2] as usize, self.y.shape[index.len() - 1] as usize);
        let scores: Vec<f64> = (0..n).map(|j| self.score(index, j)).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let total: f64 = weights.iter().sum();
        if self.nan_is_zero && total.is_nan() {
            return vec![0.0; e];
        }
        let value = |j: usize, column: usize| at(&self.v, &[&index[..index.len() - 2], &[j, column]].concat());
        let seen: Vec<(usize, f64)> = weights.into_iter().enumerate().filter(|(_, weight)| *weight != 0.0).collect();
        (0..e).map(|column| seen.iter().map(|&(j, weight)| weight / total * value(j, column)).sum()).collect()
    }

    fn score(&self, index: &[usize], j: usize) -> f64 {
        let (batch, i, d) = (&index[..index.len() - 2], index[index.len() - 2], self.q.shape[index.len() - 1] as usize);
        let product = |l: usize| at(&self.q, &[batch, &[i, l]].concat()) * at(&self.k, &[batch, &[j, l]].concat());
        let mut score: f64 = (0..d).map(product).sum::<f64>() * f64::from(self.scale);
        if self.softcap != 0.0 {
            score = f64::from(self.softcap) * (score / f64::from(self.softcap)).tanh();
        }
        let place = [batch, &[i, j]].concat();
        match &self.mask {
            Some(Mask::Added(mask)) => score += at(mask, &place),
            Some(Mask::Seen(mask)) if at(mask, &place) == 0.0 => score = self.fill.into(),
            _ => {}
        }
        if self.causal.is_some_and(|offset| j as i64 > i as i64 + offset) { self.fill.into() } else { score }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let y = Tensor { data: self.result(), ..self.y.clone() };
        let shape: Vec<usize> = y.shape.iter().map(|&extent| extent as usize).collect();
        for row in 0..shape[..shape.len() - 1].iter().product() {
            let (mut rest, mut index) = (row, vec![0; shape.len()]);
            for axis in (0..shape.len() - 1).rev() {
                index[axis] = rest % shape[axis];
                rest /= shape[axis];
            }
            for (column, exact) in self.exact(&index).into_iter().enumerate() {
                index[shape.len() - 1] = column;
                let found = at(&y, &index);
                let close = (found - exact).abs() <= 3e-6 * (1.0 + exact.abs()) || found.is_nan() && exact.is_nan();
                assert!(close, "{what}: element {index:?} is {found}, not {exact}");
            }
        }
    }
}

/// An element; an axis of extent 1 is repeated.
fn at(tensor: &Tensor, index: &[usize]) -> f64 {
    let axes = tensor.shape.iter().zip(&tensor.strides).zip(index);
    let flat: i64 = axes.map(|((&extent, stride), &i)| if extent == 1 { 0 } else { i as i64 * stride }).sum();
    tensor.data[flat as usize].into()
}

#[test]
fn tiles_and_their_neighbours() {
    let mut random = Random::new(1);
    for [m, n, d, e] in [
        [0, 3, 4, 4],
        [3, 0, 4, 4],
        [1, 1, 1, 1],
        [1, 40, 64, 64],
        [4, 17, 16, 33],
        [5, 15, 17, 16],
        [7, 127, 31, 32],
        [13, 128, 32, 15],
        [12, 129, 64, 48],
        [97, 130, 5, 3],
        [96, 16, 16, 16],
        [1, 300, 20, 16],
        [193, 260, 8, 16],
    ] {
        Case::random([2, 2, m, n], [d, e], &mut random).check(&format!("{m} x {n}, {d} and {e} wide"));
    }
}

#[test]
fn heads_are_views_and_queries_share_keys() {
    let mut random = Random::new(2);
    for (m, n, shared) in [(1, 33, 4), (6, 20, 3), (40, 140, 2)] {
        // `[b, m, heads, d]` seen as `[b, heads of keys, shared, m, d]`.
        let q = Tensor::random(&[2, m, 2, shared, 24], &mut random).swap(1, 2).swap(2, 3);
        let k = Tensor::random(&[2, n, 2, 1, 24], &mut random).swap(1, 2).swap(2, 3);
        let v = Tensor::random(&[2, n, 2, 1, 16], &mut random).swap(1, 2).swap(2, 3);
        let mut case = Case::new(q, k, v);
        case.y = Tensor::unset(&[2, m, 2, shared, 16]).swap(1, 2).swap(2, 3);
        case.check("heads as views");
        // Keys as `[.., d, n]` and queries along a stride.
        case.k = Tensor::random(&[2, 2, 1, 24, n], &mut random).swap(3, 4);
        case.q = Tensor::random(&[2, 2, shared, 24, m], &mut random).swap(3, 4);
        case.v = Tensor::random(&[2, 2, 1, 16, n], &mut random).swap(3, 4);
        case.check("transposed operands");
    }
}

#[test]
fn masks_hide_and_add() {
    let mut random = Random::new(3);
    for (m, n) in [(1, 20), (9, 150), (100, 290)] {
        for fill in [f32::NEG_INFINITY, f32::MIN, -8.0] {
            for shape in [[2, 2, m, n], [2, 1, 1, n], [1, 2, m, 1]] {
                let mut case = Case { fill, ..Case::random([2, 2, m, n], [16, 16], &mut random) };
                let mut mask = Tensor::random(&shape, &mut random);
                case.mask = Some(Mask::Added(mask.clone()));
                case.check("terms");
                mask.data.iter_mut().for_each(|x| *x = if *x > 0.3 { 1.0 } else { 0.0 });
                // Whole runs of keys that nobody sees.
                let rows = mask.data.chunks_mut(shape[3]);
                rows.for_each(|row| row.iter_mut().skip(128).for_each(|x| *x = 0.0));
                case.mask = Some(Mask::Seen(mask.clone()));
                case.check("choice");
                mask.data.iter_mut().for_each(|x| *x = if *x == 0.0 { fill } else { 0.0 });
                case.mask = Some(Mask::Added(mask));
                case.nan_is_zero = true;
                case.check("hiding terms");
            }
            for offset in [-3, 0, 130] {
                let case = Case::random([1, 2, m, n], [16, 16], &mut random);
                Case { fill, causal: Some(offset), softcap: 2.0, ..case }.check("causal");
            }
        }
    }
}

#[test]
fn special_values_spread_to_their_rows() {
    let mut random = Random::new(4);
    let mut case = Case::random([1, 1, 3, 200], [16, 16], &mut random);
    case.q.data[16] = f32::NAN;
    case.q.data[32] = f32::INFINITY;
    let y = case.result();
    assert!(y[..16].iter().all(|y| y.is_finite()) && y[16..].iter().all(|y| y.is_nan()), "{y:?}");
    case.nan_is_zero = true;
    assert!(case.result()[16..].iter().all(|&y| y == 0.0));
}
