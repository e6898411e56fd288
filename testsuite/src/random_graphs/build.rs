//! A graph as it grows.

use super::case::{Case, Leaf};
use super::ops::OPS;
use ic::import::{ImportOptions, import};
use ic_ir::eval::{Symbols, eval_graph, reals};
use ic_ir::testing::Random;
use ic_types::{DType, Tensor};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, NodeProto};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest number of elements of a value.
const MAX_ELEMENTS: usize = 1 << 13;
/// Magnitude that floats hardly pass.
const LARGE: f64 = 1e4;

/// A value by its place.
pub(super) type Id = usize;

struct Known {
    tensor: Tensor,
    /// Whether no rounding has touched it.
    exact: bool,
    /// How often nodes use it.
    uses: usize,
    leaf: bool,
    /// Whether its extents are numbers in any case.
    fixed: bool,
}

/// What an op does to exact operands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounds {
    Never,
    /// Floats are rounded.
    Floats,
}

/// A graph as it grows.
pub(super) struct Builder<'a> {
    pub(super) random: &'a mut Random,
    values: Vec<Known>,
    nodes: Vec<NodeProto>,
    constants: Vec<bool>,
    folder: &'a Path,
}

/// A graph of up to 30 nodes. `folder` is for files.
pub fn graph(random: &mut Random, folder: &Path) -> Case {
    let n_nodes = if random.below(3) == 0 { random.between(1, 3) } else { random.between(2, 30) };
    let mut builder = Builder { random, values: vec![], nodes: vec![], constants: vec![], folder };
    for _ in 0..4 * n_nodes {
        if builder.nodes.len() >= n_nodes {
            break;
        }
        let op = builder.random.pick(OPS);
        // What does not fit is left out.
        let _ = op(&mut builder);
    }
    builder.finish()
}

fn name(id: Id) -> String {
    format!("v{id}")
}

impl Builder<'_> {
    pub(super) fn shape(&self, id: Id) -> Vec<usize> {
        self.values[id].tensor.shape().to_vec()
    }

    pub(super) fn rank(&self, id: Id) -> usize {
        self.values[id].tensor.rank()
    }

    pub(super) fn dtype(&self, id: Id) -> DType {
        self.values[id].tensor.dtype()
    }

    pub(super) fn tensor(&self, id: Id) -> &Tensor {
        &self.values[id].tensor
    }

    fn add(&mut self, tensor: Tensor, exact: bool, leaf: bool, constant: bool) -> Id {
        self.values.push(Known { tensor, exact, uses: 0, leaf, fixed: false });
        self.constants.push(constant);
        self.values.len() - 1
    }

    /// An input, or a constant.
    pub(super) fn leaf(&mut self, tensor: Tensor) -> Id {
        let constant = self.random.below(3) == 0;
        self.add(tensor, true, true, constant)
    }

    /// An input, or a constant, whose extents are numbers: what they are says how many axes something else has.
    pub(super) fn parameter(&mut self, tensor: Tensor) -> Id {
        let id = self.leaf(tensor);
        self.values[id].fixed = true;
        id
    }

    pub(super) fn constant(&mut self, tensor: Tensor) -> Id {
        self.add(tensor, true, true, true)
    }

    /// A constant list of integers.
    pub(super) fn ints(&mut self, list: &[i64]) -> Id {
        self.constant(Tensor::from_elements(vec![list.len()], list.to_vec()))
    }

    /// A new input or constant of this type and shape.
    pub(super) fn fresh(&mut self, dtype: DType, shape: &[usize]) -> Id {
        let tensor = match dtype {
            DType::Bool => {
                let len = shape.iter().product();
                Tensor::from_elements(shape.to_vec(), (0..len).map(|_| self.random.flag()).collect::<Vec<bool>>())
            }
            _ => self.random.tensor(dtype, shape),
        };
        self.leaf(tensor)
    }

    /// A value that there is, late ones more often.
    pub(super) fn existing(&mut self, ok: impl Fn(&Tensor) -> bool, exact: bool) -> Option<Id> {
        let fits = |v: &Known| ok(&v.tensor) && (v.exact || !exact);
        let ids: Vec<Id> = (0..self.values.len()).filter(|&id| fits(&self.values[id])).collect();
        let late = ids.len() - ids.len().min(4);
        let from = if self.random.flag() { late } else { 0 };
        if ids.is_empty() { None } else { Some(ids[from + self.random.below(ids.len() - from)]) }
    }

    /// A value of one of the types whose rank is within bounds.
    pub(super) fn any(&mut self, dtypes: &[DType], ranks: std::ops::RangeInclusive<usize>, exact: bool) -> Id {
        let found = match self.random.below(5) {
            0 => None,
            _ => self.existing(|t| dtypes.contains(&t.dtype()) && ranks.contains(&t.rank()), exact),
        };
        found.unwrap_or_else(|| {
            let rank = self.random.between(*ranks.start(), (*ranks.end()).min(4).max(*ranks.start()));
            let shape: Vec<usize> = (0..rank).map(|_| self.extent()).collect();
            let dtype = self.random.pick(dtypes);
            self.fresh(dtype, &shape)
        })
    }

    /// An extent: odd ones, 1, and now and then 0.
    pub(super) fn extent(&mut self) -> usize {
        match self.random.below(24) {
            0 => 0,
            1 => self.random.pick(&[15, 16, 17, 33]),
            2..=5 => 1,
            _ => self.random.between(2, 9),
        }
    }

    /// A value that broadcasts with `other`, of its type.
    pub(super) fn partner(&mut self, other: Id, dtype: DType, exact: bool) -> Id {
        let shape = self.shape(other);
        let fits = |t: &Tensor| {
            t.dtype() == dtype
                && t.shape().iter().rev().zip(shape.iter().rev()).all(|(a, b)| a == b || *a == 1 || *b == 1)
        };
        let found = if self.random.below(3) > 0 { self.existing(fits, exact) } else { None };
        found.unwrap_or_else(|| {
            let mut shape = self.random.broadcastable(&shape);
            if self.random.below(6) == 0 && shape.len() < 4 {
                shape.insert(0, self.random.between(1, 3));
            }
            self.fresh(dtype, &shape)
        })
    }

    /// Adds a node, if its op takes it and its results are neither large nor undefined.
    pub(super) fn push(
        &mut self,
        op: &str,
        operands: &[Option<Id>],
        attributes: Vec<AttributeProto>,
        n_results: usize,
        rounds: Rounds,
    ) -> Option<Vec<Id>> {
        let first = self.values.len();
        let node = NodeProto {
            op_type: op.into(),
            name: format!("node_{}", self.nodes.len()),
            input: operands.iter().map(|id| id.map(name).unwrap_or_default()).collect(),
            output: (first..first + n_results).map(name).collect(),
            attribute: attributes,
            ..NodeProto::default()
        };
        let results = self.evaluated(&node, operands)?;
        if results.iter().any(|t| t.len() > MAX_ELEMENTS || t.rank() > 6) {
            return None;
        }
        let is_wild = |t: &Tensor| reals(t).is_ok_and(|v| v.iter().any(|x| x.is_nan() || x.abs() >= LARGE));
        if results.iter().any(is_wild) && self.random.below(20) > 0 {
            return None;
        }
        let exact = operands.iter().flatten().all(|&id| self.values[id].exact);
        operands.iter().flatten().for_each(|&id| self.values[id].uses += 1);
        self.nodes.push(node);
        let keeps = |t: &Tensor| rounds == Rounds::Never || !t.dtype().is_float();
        Some(
            results
                .into_iter()
                .map(|t| {
                    let exact = exact && keeps(&t);
                    self.add(t, exact, false, false)
                })
                .collect(),
        )
    }

    /// The results of a node on what its operands are.
    fn evaluated(&self, node: &NodeProto, operands: &[Option<Id>]) -> Option<Vec<Tensor>> {
        let leaf = |&id: &Id| (name(id), Leaf { tensor: self.values[id].tensor.clone(), symbolic: None });
        let case = Case {
            nodes: vec![node.clone()],
            leaves: operands.iter().flatten().map(leaf).collect(),
            outputs: node.output.clone(),
            known: BTreeMap::new(),
        };
        let path = self.folder.join("node.onnx");
        case.write(&path).ok()?;
        let graph = import(&path, &ImportOptions::default()).ok()?.graph;
        eval_graph(&graph, &[], &Symbols::new()).ok()
    }

    fn finish(self) -> Case {
        let Builder { random, values, mut nodes, constants, .. } = self;
        let dynamic = random.flag();
        let mut leaves = BTreeMap::new();
        let (mut outputs, mut known) = (Vec::new(), BTreeMap::new());
        for (id, value) in values.into_iter().enumerate() {
            if value.leaf {
                let axes = (0..value.tensor.rank()).map(|_| dynamic && !value.fixed && random.below(3) > 0).collect();
                let symbolic = if constants[id] { None } else { Some(axes) };
                leaves.insert(name(id), Leaf { tensor: value.tensor, symbolic });
            } else {
                if value.uses == 0 || random.below(8) == 0 {
                    outputs.push(name(id));
                }
                known.insert(name(id), value.tensor);
            }
        }
        nodes.shrink_to_fit();
        Case { nodes, leaves, outputs, known }.pruned()
    }
}

/// An attribute.
pub(super) fn attribute(name: &str, value: impl Into<Attribute>) -> AttributeProto {
    let mut proto = AttributeProto { name: name.into(), ..AttributeProto::default() };
    let ty = match value.into() {
        Attribute::Int(i) => {
            proto.i = i;
            AttributeType::INT
        }
        Attribute::Float(f) => {
            proto.f = f;
            AttributeType::FLOAT
        }
        Attribute::Ints(ints) => {
            proto.ints = ints;
            AttributeType::INTS
        }
        Attribute::Text(text) => {
            proto.s = text.into_bytes();
            AttributeType::STRING
        }
    };
    proto.type_ = ty.into();
    proto
}

/// What an attribute holds.
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Text(String),
}

macro_rules! from {
    ($($ty:ty => $variant:ident($value:ident) $from:expr;)*) => {
        $(impl From<$ty> for Attribute {
            fn from($value: $ty) -> Attribute {
                Attribute::$variant($from)
            }
        })*
    };
}

from! {
    i64 => Int(x) x;
    bool => Int(x) x.into();
    usize => Int(x) x as i64;
    f32 => Float(x) x;
    Vec<i64> => Ints(x) x;
    Vec<usize> => Ints(x) x.into_iter().map(|x| x as i64).collect();
    &str => Text(x) x.into();
}
