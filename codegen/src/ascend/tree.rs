//! The tree of an Ascend kernel: operations on whole tensors, in order. Extents may be symbolic.
//!
//! Invariant: operands of an operation come before it, and its type is the one that the builder inferred.

use super::functions::{BinaryFn, CompareFn, FoldFn, UnaryFn};
use ic_types::{DType, Data, Dim};

/// Index into [`Function::values`].
pub type TensorId = u32;

/// Element type and extents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<Dim>,
}

/// A number: its little-endian bytes, zero-extended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number {
    /// Element type.
    pub dtype: DType,
    /// The bytes.
    pub bits: u128,
}

impl Number {
    /// The f32 `value`.
    pub fn f32(value: f32) -> Number {
        Number { dtype: DType::F32, bits: value.to_bits().into() }
    }

    /// The i64 `value`.
    pub fn i64(value: i64) -> Number {
        Number { dtype: DType::I64, bits: (value as u64).into() }
    }

    /// As data of one element; `None` for types whose elements are not whole bytes.
    pub(crate) fn data(self) -> Option<Data> {
        let size = self.dtype.size()?;
        Data::from_le_bytes(self.dtype, self.bits.to_le_bytes().get(..size)?)
    }
}

/// An operand of an elementwise operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// A tensor of the result's shape.
    Tensor(TensorId),
    /// The same number everywhere.
    Number(Number),
}

/// What computes a tensor.
#[derive(Clone, PartialEq, Debug)]
pub enum TensorOp {
    /// An argument of the function, by index.
    Argument(u32),
    /// The same number everywhere.
    Fill(Number),
    /// An extent as a number, of rank 0.
    Extent(Dim),
    /// `0, 1, …` as i64, of rank 1.
    Arange,
    /// A function of each element.
    Unary(UnaryFn, TensorId),
    /// A function of pairs of elements; at least one operand is a tensor.
    Binary(BinaryFn, Operand, Operand),
    /// A comparison of pairs of elements, as bool; at least one operand is a tensor.
    Compare(CompareFn, Operand, Operand),
    /// The second operand where the first is true, else the third.
    Select(TensorId, Operand, Operand),
    /// Conversion; floats to integers truncate.
    Cast(TensorId),
    /// The elements along some axes combined; those axes vanish.
    Fold(FoldFn, TensorId, Vec<usize>),
    /// Repeats along the axes of the result that are listed.
    Broadcast(TensorId, Vec<usize>),
    /// Axis `i` of the result is axis `permutation[i]` of the operand.
    Transpose(TensorId, Vec<usize>),
    /// A box of the operand that starts here. A last axis of extent 1 may vanish.
    Slice(TensorId, Vec<Dim>),
    /// `base` with a box of it replaced.
    Insert {
        /// The whole.
        base: TensorId,
        /// What is put into it.
        piece: TensorId,
        /// Where the piece starts.
        starts: Vec<Dim>,
    },
}

/// A tensor and what computes it.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// Its type.
    pub ty: TensorType,
    /// What computes it.
    pub op: TensorOp,
}

/// A function of tensors.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Function {
    /// Types of the arguments.
    pub arguments: Vec<TensorType>,
    /// Values in order.
    pub values: Vec<Value>,
    /// What it returns.
    pub results: Vec<TensorId>,
}

impl Function {
    /// The type of a value.
    pub fn ty(&self, id: TensorId) -> &TensorType {
        &self.values[id as usize].ty
    }

    /// Appends a value.
    pub(crate) fn push(&mut self, op: TensorOp, dtype: DType, shape: Vec<Dim>) -> TensorId {
        let value = Value { ty: TensorType { dtype, shape }, op };
        if let Some(found) = self.values.iter().position(|v| *v == value) {
            return found as TensorId;
        }
        self.values.push(value);
        self.values.len() as TensorId - 1
    }

    /// A new argument.
    pub(crate) fn argument(&mut self, dtype: DType, shape: Vec<Dim>) -> TensorId {
        let number = self.arguments.len() as u32;
        self.arguments.push(TensorType { dtype, shape: shape.clone() });
        self.push(TensorOp::Argument(number), dtype, shape)
    }

    /// Every extent that occurs and is no constant, once.
    pub(crate) fn symbolic_extents(&self) -> Vec<Dim> {
        let mut found = Vec::new();
        let shapes = self.arguments.iter().map(|ty| &ty.shape).chain(self.values.iter().map(|value| &value.ty.shape));
        shapes.for_each(|shape| add_symbolic(&mut found, shape));
        for value in &self.values {
            match &value.op {
                TensorOp::Extent(dim) => add_symbolic(&mut found, std::slice::from_ref(dim)),
                TensorOp::Slice(_, starts) | TensorOp::Insert { starts, .. } => add_symbolic(&mut found, starts),
                _ => {}
            }
        }
        found
    }

    /// The argument and the axis of it that has this extent, if one has.
    pub(crate) fn axis_of(&self, dim: &Dim) -> Option<(usize, usize)> {
        let axis = |ty: &TensorType| ty.shape.iter().position(|extent| extent == dim);
        self.arguments.iter().enumerate().find_map(|(i, ty)| Some((i, axis(ty)?)))
    }

    /// The extents that no argument's axis has: they are scalar arguments.
    pub(crate) fn scalar_extents(&self) -> Vec<Dim> {
        let mut dims = self.symbolic_extents();
        dims.retain(|dim| self.axis_of(dim).is_none());
        dims
    }

    /// The function with every extent replaced by what `bind` makes of it.
    pub(crate) fn bound<E>(&self, bind: &dyn Fn(&Dim) -> Result<Dim, E>) -> Result<Function, E> {
        let all = |dims: &[Dim]| dims.iter().map(bind).collect::<Result<Vec<_>, E>>();
        let ty = |ty: &TensorType| Ok(TensorType { dtype: ty.dtype, shape: all(&ty.shape)? });
        let value = |value: &Value| {
            let op = match &value.op {
                TensorOp::Extent(dim) => TensorOp::Extent(bind(dim)?),
                TensorOp::Slice(x, starts) => TensorOp::Slice(*x, all(starts)?),
                TensorOp::Insert { base, piece, starts } => {
                    TensorOp::Insert { base: *base, piece: *piece, starts: all(starts)? }
                }
                op => op.clone(),
            };
            Ok(Value { ty: ty(&value.ty)?, op })
        };
        Ok(Function {
            arguments: self.arguments.iter().map(ty).collect::<Result<_, E>>()?,
            values: self.values.iter().map(value).collect::<Result<_, E>>()?,
            results: self.results.clone(),
        })
    }

    /// Drops what no result needs; arguments stay.
    pub(crate) fn prune(&mut self) {
        let mut live = vec![false; self.values.len()];
        self.results.iter().for_each(|&id| live[id as usize] = true);
        for (i, value) in self.values.iter().enumerate().rev() {
            if live[i] {
                value.op.operands().iter().for_each(|&id| live[id as usize] = true);
            }
        }
        let mut renamed = Vec::with_capacity(live.len());
        let mut values = Vec::new();
        for (value, live) in std::mem::take(&mut self.values).into_iter().zip(live) {
            renamed.push(values.len() as TensorId);
            if live {
                values.push(Value { op: value.op.renamed(&|id| renamed[id as usize]), ..value });
            }
        }
        self.values = values;
        self.results.iter_mut().for_each(|id| *id = renamed[*id as usize]);
    }
}

/// Adds those of `dims` that are no constants and are not there yet.
pub(crate) fn add_symbolic(found: &mut Vec<Dim>, dims: &[Dim]) {
    for dim in dims {
        if dim.as_const().is_none() && !found.contains(dim) {
            found.push(dim.clone());
        }
    }
}

impl TensorOp {
    /// The tensors that it reads.
    pub(crate) fn operands(&self) -> Vec<TensorId> {
        let tensors = |operands: &[Operand]| {
            let tensor = |x: &Operand| if let Operand::Tensor(id) = x { Some(*id) } else { None };
            operands.iter().filter_map(tensor).collect::<Vec<_>>()
        };
        match self {
            TensorOp::Argument(_) | TensorOp::Fill(_) | TensorOp::Extent(_) | TensorOp::Arange => Vec::new(),
            TensorOp::Unary(_, x) | TensorOp::Cast(x) | TensorOp::Fold(_, x, _) => vec![*x],
            TensorOp::Broadcast(x, _) | TensorOp::Transpose(x, _) | TensorOp::Slice(x, _) => vec![*x],
            TensorOp::Binary(_, a, b) | TensorOp::Compare(_, a, b) => tensors(&[*a, *b]),
            TensorOp::Select(c, a, b) => [vec![*c], tensors(&[*a, *b])].concat(),
            TensorOp::Insert { base, piece, .. } => vec![*base, *piece],
        }
    }

    fn renamed(self, name: &dyn Fn(TensorId) -> TensorId) -> TensorOp {
        let operand = |x: Operand| if let Operand::Tensor(id) = x { Operand::Tensor(name(id)) } else { x };
        match self {
            TensorOp::Argument(_) | TensorOp::Fill(_) | TensorOp::Extent(_) | TensorOp::Arange => self,
            TensorOp::Unary(f, x) => TensorOp::Unary(f, name(x)),
            TensorOp::Cast(x) => TensorOp::Cast(name(x)),
            TensorOp::Fold(f, x, axes) => TensorOp::Fold(f, name(x), axes),
            TensorOp::Broadcast(x, axes) => TensorOp::Broadcast(name(x), axes),
            TensorOp::Transpose(x, permutation) => TensorOp::Transpose(name(x), permutation),
            TensorOp::Slice(x, starts) => TensorOp::Slice(name(x), starts),
            TensorOp::Binary(f, a, b) => TensorOp::Binary(f, operand(a), operand(b)),
            TensorOp::Compare(f, a, b) => TensorOp::Compare(f, operand(a), operand(b)),
            TensorOp::Select(c, a, b) => TensorOp::Select(name(c), operand(a), operand(b)),
            TensorOp::Insert { base, piece, starts } => {
                TensorOp::Insert { base: name(base), piece: name(piece), starts }
            }
        }
    }
}
