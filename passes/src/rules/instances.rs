//! Random instances of rules: graphs that match a rule's left side.
//!
//! An instance is made from the pattern: variables become inputs or constants of shapes that broadcast, ops get random
//! attributes. Many do not match after all, as conditions are not looked at; a caller tries again.

use crate::egraph::language::Head;
use crate::egraph::pattern::{Part, PartHead, Pattern};
use ic_ir::ops::*;
use ic_ir::scalar::{ResultRule, ScalarOp};
use ic_ir::{AttrMap, Builder, F32, Graph, Literal, Op, ValueId};
use ic_types::{DType, Data, Dim, Tensor};
use std::sync::Arc;

/// A small random number generator.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn real(&mut self) -> f64 {
        self.below(6001) as f64 / 1000.0 - 3.0
    }

    /// A tensor of random numbers, with the odd special value if `special`.
    pub(super) fn tensor(&mut self, dtype: DType, shape: &[usize], special: bool) -> Tensor {
        let n = shape.iter().product();
        const SPECIAL: [f64; 6] = [0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let mut real = |_| if special && self.chance(15) { self.pick(&SPECIAL) } else { self.real() };
        let data = match dtype {
            DType::F64 => Data::F64((0..n).map(real).collect()),
            DType::F32 => Data::F32((0..n).map(|i| real(i) as f32).collect()),
            DType::I32 => Data::I32((0..n).map(|i| real(i) as i32).collect()),
            _ => Data::Bool((0..n).map(|i| real(i) > 0.0).collect()),
        };
        Tensor::new(shape.to_vec(), data)
    }
}

/// What a part of an instance should be.
#[derive(Clone)]
struct Wish {
    dtype: DType,
    shape: Vec<usize>,
}

/// Matrices of which instances choose.
const EXPERTS: usize = 4;

struct Maker<'a> {
    random: &'a mut Random,
    graph: Graph,
    names: &'a [String],
    vars: Vec<Option<ValueId>>,
    ops: Vec<Option<Op>>,
    /// How many parts precede the one that is made otherwise than the pattern says.
    miss: Option<usize>,
    missed: bool,
}

/// A graph whose only output may match `pattern`; `None` if random choices did not fit together.
pub(super) fn instance(pattern: &Pattern, random: &mut Random) -> Option<Graph> {
    make(pattern, random, None)
}

/// An instance of which one part is not as the pattern says: another number, function or attribute, or two values where
/// the pattern has one twice.
pub(super) fn near_miss(pattern: &Pattern, random: &mut Random) -> Option<Graph> {
    let miss = random.below(8);
    make(pattern, random, Some(miss))
}

fn make(pattern: &Pattern, random: &mut Random, miss: Option<usize>) -> Option<Graph> {
    let rank = random.pick(&[4, 4, 4, 3, 3, 2, 1]);
    let shape = (0..rank).map(|_| 1 + random.below(4)).collect();
    let dtype = random.pick(&[DType::F32, DType::F32, DType::F32, DType::F64, DType::I32, DType::Bool]);
    let mut maker = Maker {
        random,
        graph: Graph::new("instance"),
        names: &pattern.vars,
        vars: vec![None; pattern.vars.len()],
        ops: vec![None; pattern.captures.len()],
        miss,
        missed: false,
    };
    let root = maker.part(&pattern.root, &Wish { dtype, shape })??;
    if maker.missed != miss.is_some() {
        return None;
    }
    maker.graph.add_output("left", root);
    Some(maker.graph)
}

impl Maker<'_> {
    /// Whether this part is the one to make otherwise.
    fn misses(&mut self) -> bool {
        let (is_this, rest) = match self.miss {
            Some(0) => (true, None),
            Some(n) => (false, Some(n - 1)),
            None => (false, None),
        };
        self.miss = rest;
        self.missed |= is_this;
        is_this
    }

    /// Another function that takes and gives the same types.
    fn other(&mut self, function: ScalarOp) -> ScalarOp {
        let fits = |f: &&ScalarOp| f.arity() == function.arity() && f.rule() == function.rule() && **f != function;
        let others: Vec<ScalarOp> = ScalarOp::ALL.iter().filter(fits).copied().collect();
        if others.is_empty() { function } else { self.random.pick(&others) }
    }

    /// The value of a part; the inner `None` is an absent operand, the outer a failure.
    fn part(&mut self, part: &Part, wish: &Wish) -> Option<Option<ValueId>> {
        Some(match part {
            Part::Absent => None,
            Part::Number(number) => {
                let number = if self.misses() { number + 1.0 } else { *number };
                Some(self.number(number, wish.dtype)?)
            }
            Part::Var(var) => {
                let known = self.vars[*var];
                let is_given = known.is_some() && !self.misses();
                let value = if is_given { known? } else { self.variable(*var, wish)? };
                self.vars[*var] = known.or(Some(value));
                Some(value)
            }
            Part::Chain(function, parts) => {
                let function = if self.misses() { self.other(*function) } else { *function };
                let mut parts = parts.clone();
                let swap = self.random.below(parts.len());
                parts.swap(0, swap);
                let mut chain = self.part(&parts[0], wish)??;
                for part in &parts[1..] {
                    let term = self.part(part, wish)??;
                    let operands = if self.random.chance(50) { [chain, term] } else { [term, chain] };
                    chain = self.push(function.into(), &[Some(operands[0]), Some(operands[1])])?;
                }
                Some(chain)
            }
            Part::Node { head, attrs, capture, children } => {
                let misses = self.misses();
                let given = capture.and_then(|c| self.ops[c].clone()).filter(|_| !misses);
                let (head, attrs) = match head {
                    PartHead::Op(Head::Pointwise(function)) if misses => {
                        (PartHead::Op(Head::Pointwise(self.other(*function))), attrs.as_slice())
                    }
                    head => (*head, if misses { &[] } else { attrs.as_slice() }),
                };
                let (op, operands) = self.node(head, attrs, given, children, wish)?;
                if let Some(capture) = capture {
                    self.ops[*capture] = Some(op.clone());
                }
                Some(self.push(op, &operands)?)
            }
        })
    }

    fn push(&mut self, op: Op, operands: &[Option<ValueId>]) -> Option<ValueId> {
        let location: Arc<str> = Arc::from("");
        self.graph.push_node(op, operands.to_vec(), Vec::new(), &location).ok()?.first().copied()
    }

    fn constant(&mut self, tensor: Tensor) -> Option<ValueId> {
        self.push(Constant { value: Literal::inline(tensor) }.into(), &[])
    }

    fn number(&mut self, number: f64, dtype: DType) -> Option<ValueId> {
        let location = Arc::from("");
        let scalar = Builder { graph: &mut self.graph, location }.scalar(dtype, number).ok()?;
        if self.random.chance(70) {
            return Some(scalar);
        }
        self.push(Reshape { shape: vec![Dim::constant(1)] }.into(), &[Some(scalar)])
    }

    /// What a variable stands for where it is met first. Names of scores and factors ask for numbers, those of the factors
    /// of attention for whole tensors, most of the time, those of experts for their matrices and for who chooses them.
    fn variable(&mut self, var: usize, wish: &Wish) -> Option<ValueId> {
        match self.names[var].as_str() {
            "fill" => self.one_of(&[f64::NEG_INFINITY, f32::MIN.into(), -2.0], wish),
            "factor" | "cap" => self.one_of(&[0.5, 1.0, 1.5, -2.0], wish),
            "index" => Some(self.input(DType::I32, &wish.shape)),
            "expert" | "expert_up" | "expert_out" => {
                let tensor = self.random.tensor(wish.dtype, &wish.shape, false);
                self.constant(tensor)
            }
            "weight" => {
                let (_, outer) = wish.shape.split_last()?;
                Some(self.input(wish.dtype, &[outer, &[1]].concat()))
            }
            "q" | "k" | "v" if self.random.chance(85) => Some(self.input(wish.dtype, &wish.shape)),
            _ => self.fresh(wish),
        }
    }

    fn input(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        let n = self.vars.iter().flatten().count();
        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        self.graph.add_input(format!("x{n}"), ic_ir::TensorType::fixed(dtype, &dims))
    }

    /// One of these numbers.
    fn one_of(&mut self, numbers: &[f64], wish: &Wish) -> Option<ValueId> {
        let number = self.random.pick(numbers);
        self.number(number, wish.dtype)
    }

    /// An input or a constant that broadcasts to the wish.
    fn fresh(&mut self, wish: &Wish) -> Option<ValueId> {
        let mut shape = wish.shape.clone();
        match self.random.below(4) {
            0 => {
                let keep = self.random.below(shape.len().max(1));
                shape.iter_mut().enumerate().filter(|(i, _)| *i != keep).for_each(|(_, d)| *d = 1);
            }
            1 => drop(shape.drain(..self.random.below(shape.len() + 1))),
            _ => {}
        }
        if self.random.chance(50) {
            return Some(self.input(wish.dtype, &shape));
        }
        let n = shape.iter().product::<usize>();
        let special = [0.0, 1.0, 2.0, 0.5, 0.25, 4.0, -1.0, 3.0, 1.0 / n.max(1) as f64];
        let splat = self.random.pick(&special);
        if self.random.chance(50) && wish.dtype == DType::F32 {
            let count = wish.shape.last().copied().unwrap_or(1) as f32;
            let splat = if self.random.chance(50) { 1.0 / count } else { splat as f32 };
            return self.constant(Tensor::from_elements(shape, vec![splat; n]));
        }
        let tensor = self.random.tensor(wish.dtype, &shape, false);
        self.constant(tensor)
    }

    /// An op of this head with operands.
    fn node(
        &mut self,
        head: PartHead,
        attrs: &[(String, String)],
        given: Option<Op>,
        children: &[Part],
        wish: &Wish,
    ) -> Option<(Op, Vec<Option<ValueId>>)> {
        let function = match (head, &given) {
            (_, Some(Op::Pointwise(op))) => Some(op.function),
            (PartHead::Op(Head::Pointwise(function)), _) => Some(function),
            (PartHead::Unary, _) => Some(self.random.pick(&functions(1))),
            (PartHead::Binary, _) => Some(self.random.pick(&functions(2))),
            _ => None,
        };
        if let Some(function) = function {
            return Some((function.into(), self.pointwise(function, children, wish)?));
        }
        let PartHead::Op(Head::Named(index)) = head else { return None };
        let wishes = self.wishes(Op::NAMES[index as usize], given.as_ref(), attrs, wish)?;
        let mut operands = Vec::new();
        for (part, wish) in children.iter().zip(&wishes.1) {
            let is_optional = wishes.0.operands().get(operands.len()).is_some_and(|spec| spec.optional);
            let absent = matches!(part, Part::Var(_)) && operands.len() >= 2 && is_optional && self.random.chance(30);
            operands.push(if absent { None } else { self.part(part, wish)? });
        }
        Some((wishes.0, operands))
    }

    fn pointwise(&mut self, function: ScalarOp, children: &[Part], wish: &Wish) -> Option<Vec<Option<ValueId>>> {
        let mut operands = Vec::new();
        let mut wish = wish.clone();
        let result = wish.dtype;
        for (i, child) in children.iter().enumerate() {
            wish.dtype = match function.rule() {
                ResultRule::Select if i == 0 => DType::Bool,
                ResultRule::Float | ResultRule::Test if !result.is_float() => DType::F32,
                ResultRule::Number | ResultRule::Compare if result == DType::Bool => DType::F32,
                ResultRule::Bool => DType::Bool,
                ResultRule::Int => DType::I32,
                _ => result,
            };
            let value = self.part(child, &wish)??;
            operands.push(Some(value));
            let ty = self.graph.tensor_ty(value);
            let shape = ty.constant_shape()?;
            // What follows broadcasts with what is there.
            if !matches!(child, Part::Var(_) | Part::Number(_)) || i == 0 && self.random.chance(20) {
                wish.shape = shape;
            }
        }
        Some(operands)
    }

    /// An op of this name whose result is as wished where it can be, and what its operands should be.
    fn wishes(
        &mut self,
        name: &str,
        given: Option<&Op>,
        attrs: &[(String, String)],
        wish: &Wish,
    ) -> Option<(Op, Vec<Wish>)> {
        let shape = &wish.shape;
        let rank = shape.len();
        let with = |shape: Vec<usize>| Wish { dtype: wish.dtype, shape };
        let dims = |shape: &[usize]| shape.iter().map(|&d| Dim::constant(d as i64)).collect::<Vec<_>>();
        Some(match name {
            "reduce" => {
                let function = self.random.pick(&[ReduceFn::Sum, ReduceFn::Max, ReduceFn::Mean, ReduceFn::Min]);
                let last = rank.checked_sub(1)?;
                let axes = match self.random.below(3) {
                    0 => (self.random.below(rank)..rank).collect(),
                    1 => vec![self.random.below(rank)],
                    _ => vec![last],
                };
                let keep_dims = self.random.chance(80);
                let random: Op = Reduce { function, axes, keep_dims }.into();
                (self.demand(given.cloned().unwrap_or(random), attrs)?, vec![wish.clone()])
            }
            "softmax" => {
                let axis = if self.random.chance(50) { -1 } else { self.random.below(rank.max(1)) as i64 };
                let op = given.cloned().unwrap_or(Softmax { axis }.into());
                (op, vec![wish.clone()])
            }
            "layer_normalization" | "rms_normalization" => {
                let first = self.random.below(rank.max(1));
                let (axis, epsilon) = (first as i64 - rank as i64, F32(1e-5));
                let parameter = with(shape[first.min(rank)..].to_vec());
                let op = match name {
                    "layer_normalization" => LayerNormalization { axis, epsilon }.into(),
                    _ => RmsNormalization { axis, epsilon }.into(),
                };
                (op, vec![wish.clone(), parameter.clone(), parameter])
            }
            "transpose" => {
                let mut perm: Vec<usize> = (0..rank).collect();
                (0..rank).for_each(|i| perm.swap(i, self.random.below(rank)));
                if let Some(Op::Transpose(op)) = given {
                    perm = op.perm.clone();
                }
                if perm.len() != rank {
                    return None;
                }
                let mut from = vec![0; rank];
                perm.iter().zip(shape).for_each(|(&axis, &extent)| from[axis] = extent);
                (Transpose { perm }.into(), vec![with(from)])
            }
            "reshape" => {
                let from = match self.random.below(6) {
                    0 => vec![shape.iter().product()],
                    1 => shape.iter().rev().copied().collect(),
                    2 if rank >= 3 => split_heads(shape),
                    3 | 4 if rank == 3 => vec![shape[0] * shape[1], shape[2]],
                    _ => shape.clone(),
                };
                let op = given.cloned().unwrap_or(Reshape { shape: dims(shape) }.into());
                (op, vec![with(from)])
            }
            "matmul" => {
                let (m, k, n) = (1 + self.random.below(4), 1 + self.random.below(4), 1 + self.random.below(4));
                match shape.as_slice() {
                    [batch @ .., m, n] if self.random.chance(70) => {
                        (Matmul {}.into(), vec![with([batch, &[*m, k]].concat()), with([batch, &[k, *n]].concat())])
                    }
                    _ => (Matmul {}.into(), vec![with(vec![2, m, k]), with(vec![k, n])]),
                }
            }
            "attention" => {
                let [batch @ .., m, e] = shape.as_slice() else { return None };
                let (n, d) = (1 + self.random.below(4), 1 + self.random.below(4));
                let matrix = |rows: usize, columns: usize| with([batch, &[rows, columns]].concat());
                let op = Attention {
                    scale: F32(self.random.pick(&[1.0, 0.5])),
                    softcap: F32(self.random.pick(&[0.0, 2.0])),
                    causal: None,
                    fill: F32(f32::NEG_INFINITY),
                    nan_is_zero: self.random.chance(50),
                };
                (op.into(), vec![matrix(*m, d), matrix(n, d), matrix(n, *e), matrix(*m, n)])
            }
            "expert_matmul" => {
                let &[rows, n] = shape.as_slice() else { return None };
                // Two products of the same rows have one width.
                let k = 1 + (rows + n) % 4;
                (ExpertMatmul {}.into(), vec![with(vec![rows, k]), with(vec![EXPERTS, k, n]), with(vec![rows])])
            }
            "gather" | "gather_nd" => {
                // Matrices, chosen by an index for each.
                let [choices @ .., k, n] = shape.as_slice() else { return None };
                let tuples = if name == "gather_nd" { [choices, &[1]].concat() } else { choices.to_vec() };
                let op = if name == "gather" { Gather { axis: 0 }.into() } else { GatherNd { batch_dims: 0 }.into() };
                (op, vec![with(vec![EXPERTS, *k, *n]), with(tuples)])
            }
            "slice" => {
                // Half of the last axis.
                let [.., last] = shape.as_slice() else { return None };
                let axis = rank - 1;
                let mut wide = shape.clone();
                wide[axis] *= 2;
                let starts = dims(&[self.random.pick(&[0, *last])]);
                (Slice { axes: vec![axis], starts, extents: dims(&[*last]), steps: vec![1] }.into(), vec![with(wide)])
            }
            "expand" => {
                let mut from = shape.clone();
                rank.checked_sub(1)?;
                let repeated = if rank >= 3 && self.random.chance(70) { rank - 3 } else { self.random.below(rank) };
                from[repeated] = 1;
                (Expand { shape: dims(shape) }.into(), vec![with(from)])
            }
            "cast" => {
                (Cast { to: wish.dtype, saturate: true }.into(), vec![Wish { dtype: DType::I32, ..wish.clone() }])
            }
            "convolution" | "conv_transpose" => self.window(name, wish),
            _ => return None,
        })
    }

    fn window(&mut self, name: &str, wish: &Wish) -> (Op, Vec<Wish>) {
        let dtype = if wish.dtype.is_float() { wish.dtype } else { DType::F32 };
        let with = |shape: Vec<usize>| Wish { dtype, shape };
        let groups = 1 + self.random.below(2);
        let (i, o, n) = (1 + self.random.below(2), 1 + self.random.below(3), 1 + self.random.below(2));
        let (strides, dilations) = (vec![1 + self.random.below(2), 1], vec![1, 1 + self.random.below(2)]);
        let pads = vec![Dim::constant(self.random.below(2) as i64); 4];
        let layout = self.random.pick(&[Layout::ChannelsFirst, Layout::ChannelsLast]);
        let image = match layout {
            Layout::ChannelsFirst => vec![n, i * groups, 5, 4],
            Layout::ChannelsLast => vec![n, 5, 4, i * groups],
        };
        let bias = with(vec![o * groups]);
        if name == "convolution" {
            let op = Convolution { strides, pads, dilations, groups, layout, algorithm: ConvAlgorithm::Direct };
            return (op.into(), vec![with(image), with(vec![o * groups, i, 2, 2]), bias]);
        }
        let op = ConvTranspose { strides, pads, output_padding: vec![0, 0], dilations, groups, layout };
        (op.into(), vec![with(image), with(vec![i * groups, o, 2, 2]), bias])
    }

    /// `op` with the demanded attributes.
    fn demand(&mut self, op: Op, demanded: &[(String, String)]) -> Option<Op> {
        let mut map = AttrMap::default();
        for (name, text) in op.attrs() {
            let demand = demanded.iter().find(|(n, _)| n == name);
            map.0.push((name.to_string(), demand.map_or(text, |(_, text)| text.clone())));
        }
        Op::from_attrs(op.name(), &mut map)?.ok()
    }
}

/// The shape with its last axis but two as two.
fn split_heads(shape: &[usize]) -> Vec<usize> {
    let axis = shape.len() - 3;
    let heads = shape[axis];
    let shared = (2..=heads).find(|n| heads.is_multiple_of(*n)).unwrap_or(1);
    [&shape[..axis], &[heads / shared, shared], &shape[axis + 1..]].concat()
}

/// Functions of `arity` on numbers.
fn functions(arity: usize) -> Vec<ScalarOp> {
    let fits = |f: &&ScalarOp| f.arity() == arity && matches!(f.rule(), ResultRule::Number | ResultRule::Float);
    ScalarOp::ALL.iter().filter(fits).copied().collect()
}
