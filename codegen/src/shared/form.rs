//! The form of a kernel that code is generated from: linear addresses, few axes, few passes.
//!
//! From the Kernel IR: indices of a buffer become one linear index, axes of extent 1 vanish, axes that every access
//! walks as one are merged, and cheap pointwise stages are computed where they are used. The value of every store is
//! that of the kernel.

mod axes;
mod inline;
mod schedule;

pub(crate) use axes::merge_pair;
use axes::{drop_unit_axes, has_short_columns, merge_axes, move_short_axis};
use ic_ir::kernel::{Anchor, Bound, Expr, Index, Kernel, Load, Stage, Store};
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::{DType, Dim};
pub(crate) use inline::Repeats;
use inline::inline_passes;
pub(crate) use schedule::Schedule;
use schedule::choose;

/// Index into [`Pass::nodes`].
pub(crate) type NodeId = usize;

/// A kernel ready for code generation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Form {
    /// Element types of the parameters.
    pub(crate) params: Vec<DType>,
    /// How the iteration space is walked.
    pub(crate) schedule: Schedule,
    /// Extents of the outer axes.
    pub(crate) outer: Vec<Dim>,
    /// Whether tiles divide all outer axes but the last, which is short.
    pub(crate) whole_columns: bool,
    /// What is done at each outer point, in order.
    pub(crate) passes: Vec<Pass>,
}

/// One pass over `outer × inner`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pass {
    /// Extents of its own axes, numbered after the outer ones.
    pub(crate) inner: Vec<Dim>,
    /// How the root is reduced over the inner axes, if it is.
    pub(crate) reduce: Option<ReduceFn>,
    /// Expressions; operands come before users.
    pub(crate) nodes: Vec<Node>,
    /// Element type of each node.
    pub(crate) types: Vec<DType>,
    /// What later passes refer to.
    pub(crate) root: NodeId,
    /// What is written.
    pub(crate) stores: Vec<Put>,
    /// Whether a later pass needs the root.
    pub(crate) keep: bool,
}

/// A scalar expression.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Node {
    /// A constant's bytes.
    Const(u128),
    /// An index as i64.
    Index(Index),
    /// An element of a parameter.
    Load(Get),
    /// The result of an earlier pass at this point.
    Pass(usize),
    /// A scalar function.
    Apply(ScalarOp, Vec<NodeId>),
    /// A conversion to the node's type.
    Cast(NodeId),
}

/// Where an element is read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Get {
    /// The parameter.
    pub(crate) param: usize,
    /// Linear index.
    pub(crate) at: Index,
    /// Data-dependent parts of the linear index.
    pub(crate) gathers: Vec<Gather>,
    /// Conditions of the read.
    pub(crate) bounds: Vec<Bound>,
    /// The value where a condition fails.
    pub(crate) otherwise: Option<NodeId>,
}

impl Get {
    /// Whether the place follows from the point alone, and not from other values there.
    pub(crate) fn is_of_the_point(&self) -> bool {
        self.gathers.is_empty() && self.otherwise.is_none()
    }
}

/// `clamp(index) * stride`, where a negative index counts from the end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Gather {
    pub(crate) index: NodeId,
    pub(crate) extent: Dim,
    pub(crate) stride: Dim,
}

/// Where an element is written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Put {
    pub(crate) value: NodeId,
    pub(crate) param: usize,
    pub(crate) at: Index,
    pub(crate) bounds: Vec<Bound>,
}

/// The form of the stages of `kernel` from `first` on. `schedule` is how the outer space must be walked, if that is
/// fixed, and `repeats` what several passes may compute for themselves.
///
/// # Errors
/// What code cannot be generated for.
pub(crate) fn form_of(
    kernel: &Kernel,
    first: usize,
    fixed: Option<Schedule>,
    repeats: Repeats,
) -> Result<Form, String> {
    let mut passes = Vec::new();
    for stage in &kernel.stages[first..] {
        let pass = pass_of(kernel, stage, first, &passes)?;
        passes.push(pass);
    }
    let outer: Vec<Dim> = kernel.outer.iter().map(|axis| axis.extent.clone()).collect();
    let params = kernel.params.iter().map(|param| param.dtype).collect();
    let mut form = Form { params, schedule: Schedule::Points, outer, whole_columns: false, passes };
    drop_unit_axes(&mut form, fixed);
    inline_passes(&mut form, repeats);
    merge_axes(&mut form, fixed);
    if fixed.is_none() {
        move_short_axis(&mut form);
    }
    form.schedule = fixed.unwrap_or_else(|| choose(&form));
    form.whole_columns = fixed.is_none() && has_short_columns(&form);
    Ok(form)
}

/// The stages of a kernel without inner axes as one pass over its outer axes as they are.
///
/// # Errors
/// What code cannot be generated for.
pub(crate) fn points_of(kernel: &Kernel) -> Result<Pass, String> {
    let mut passes = Vec::new();
    for stage in &kernel.stages {
        let pass = pass_of(kernel, stage, 0, &passes)?;
        passes.push(pass);
    }
    if passes.iter().any(|pass: &Pass| !pass.inner.is_empty() || pass.reduce.is_some()) {
        return Err("an epilogue with inner axes".into());
    }
    let mut form =
        Form { params: Vec::new(), schedule: Schedule::Points, outer: Vec::new(), whole_columns: false, passes };
    inline_passes(&mut form, Repeats::Always);
    form.passes.pop().ok_or_else(|| "a kernel without stages".into())
}

fn pass_of(kernel: &Kernel, stage: &Stage, first: usize, earlier: &[Pass]) -> Result<Pass, String> {
    let reduce = match &stage.anchor {
        Anchor::Pointwise => None,
        Anchor::Reduce(function) => Some(*function),
        Anchor::Op { op, .. } => return Err(format!("`{}` inside of a generated kernel", op.name())),
    };
    let mut pass = Pass {
        inner: stage.inner.iter().map(|axis| axis.extent.clone()).collect(),
        reduce,
        nodes: Vec::new(),
        types: Vec::new(),
        root: stage.body.len().saturating_sub(1),
        stores: stage.stores.iter().map(|store| put_of(kernel, store)).collect(),
        keep: false,
    };
    for expr in &stage.body {
        let (node, dtype) = node_of(kernel, expr, first, earlier, &pass)?;
        pass.nodes.push(node);
        pass.types.push(dtype);
    }
    if pass.nodes.is_empty() {
        return Err("a stage without expressions".into());
    }
    if let Some(function) = pass.reduce {
        let dtype = pass.types[pass.root];
        let logical = matches!(function, ReduceFn::Any | ReduceFn::All);
        if logical != (dtype == DType::Bool) || !is_computable(dtype) {
            return Err(format!("reduction `{}` of {dtype}", function.name()));
        }
        pass.stores.iter_mut().for_each(|store| store.value = pass.root);
    }
    for store in &pass.stores {
        let (value, param) = (pass.types[store.value], kernel.params[store.param].dtype);
        if value != param {
            return Err(format!("a store of {value} into {param}"));
        }
    }
    Ok(pass)
}

/// Whether scalar functions can be computed on the type.
fn is_computable(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::Bool) || dtype.is_int()
}

fn node_of(kernel: &Kernel, expr: &Expr, first: usize, earlier: &[Pass], pass: &Pass) -> Result<(Node, DType), String> {
    let (nodes, types) = (&pass.nodes, &pass.types);
    let storable = |dtype: DType| match dtype.size() {
        Some(1..=8) => Ok(dtype),
        _ => Err(format!("elements of type {dtype}")),
    };
    Ok(match expr {
        Expr::Const(dtype, bits) => (Node::Const(*bits), storable(*dtype)?),
        Expr::Index(index) => (Node::Index(index.clone()), DType::I64),
        Expr::Load(load) => {
            let dtype = storable(kernel.params[load.param as usize].dtype)?;
            (Node::Load(get_of(kernel, load, types)?), dtype)
        }
        Expr::Stage(stage) => {
            let pass = (*stage as usize).checked_sub(first).ok_or("a reference to an op's result in a kernel")?;
            (Node::Pass(pass), earlier[pass].types[earlier[pass].root])
        }
        Expr::Apply(op, args) => {
            let dtypes: Vec<DType> = args.iter().map(|&arg| types[arg as usize]).collect();
            if let Some(dtype) = dtypes.iter().find(|&&dtype| !is_computable(dtype)) {
                return Err(format!("`{}` of {dtype}", op.name()));
            }
            let result = op.result_dtype(&dtypes).map_err(|e| format!("`{}`: {e}", op.name()))?;
            if let (ScalarOp::Pow, Some((x, Node::Const(exponent)))) =
                (op, args.first().zip(args.get(1).map(|&e| &nodes[e as usize])))
                && is_two(dtypes[1], *exponent)
            {
                return Ok((Node::Apply(ScalarOp::Mul, vec![*x as usize; 2]), result));
            }
            (Node::Apply(*op, args.iter().map(|&arg| arg as usize).collect()), result)
        }
        Expr::Cast(to, arg) => {
            let from = types[*arg as usize];
            if from != *to && !(is_computable(from) && is_computable(*to)) {
                return Err(format!("conversion of {from} to {to}"));
            }
            (Node::Cast(*arg as usize), *to)
        }
    })
}

/// Whether a float constant is 2, the exponent of a square.
fn is_two(dtype: DType, bits: u128) -> bool {
    match dtype {
        DType::F32 => f32::from_bits(bits as u32) == 2.0,
        DType::F64 => f64::from_bits(bits as u64) == 2.0,
        DType::F16 => ic_types::f16_to_f32(bits as u16) == 2.0,
        DType::BF16 => ic_types::bf16_to_f32(bits as u16) == 2.0,
        _ => false,
    }
}

fn get_of(kernel: &Kernel, load: &Load, types: &[DType]) -> Result<Get, String> {
    let shape = &kernel.params[load.param as usize].shape;
    let strides = dense_strides(shape);
    let is_gathered = |axis: usize| load.gathered.iter().any(|(a, _)| *a as usize == axis);
    let gathers = load.gathered.iter().map(|&(axis, index)| {
        let (axis, index) = (axis as usize, index as usize);
        if !types[index].is_int() {
            return Err(format!("an index of type {}", types[index]));
        }
        Ok(Gather { index, extent: shape[axis].clone(), stride: strides[axis].clone() })
    });
    let gathers = gathers.collect::<Result<Vec<Gather>, _>>()?;
    // Of an axis that may be empty, no index can be clamped into range.
    let empty = gathers.iter().filter(|gather| gather.extent.lower_bound().is_none_or(|low| low < 1));
    let not_empty = empty.map(|gather| Bound {
        index: Index::constant(gather.extent.clone()),
        low: Dim::constant(1),
        high: Dim::constant(i64::MAX),
    });
    let bounds = load.bounds.iter().cloned().chain(not_empty).collect();
    Ok(Get {
        param: load.param as usize,
        at: linear(&load.indices, &strides, &is_gathered),
        gathers,
        bounds,
        otherwise: load.otherwise.map(|node| node as usize),
    })
}

fn put_of(kernel: &Kernel, store: &Store) -> Put {
    let strides = dense_strides(&kernel.params[store.param as usize].shape);
    Put {
        value: store.value as usize,
        param: store.param as usize,
        at: linear(&store.indices, &strides, &|_| false),
        bounds: store.bounds.clone(),
    }
}

/// The linear index that `indices` are at `strides`, axes for which `skip` holds left out.
pub(crate) fn linear(indices: &[Index], strides: &[Dim], skip: &dyn Fn(usize) -> bool) -> Index {
    let axes = indices.iter().zip(strides).enumerate().filter(|(axis, _)| !skip(*axis));
    axes.fold(Index::default(), |sum, (_, (index, stride))| sum.plus(&index.times(stride)))
}

/// Row-major strides in elements.
pub(crate) fn dense_strides(shape: &[Dim]) -> Vec<Dim> {
    let mut strides = vec![Dim::constant(1); shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].clone() * shape[axis].clone();
    }
    strides
}

/// Whether a function of f32 is a strip: a call on a whole array.
pub(crate) fn is_strip(op: ScalarOp, operand: DType) -> bool {
    matches!(operand, DType::F32 | DType::F16 | DType::BF16) && (op == ScalarOp::Pow || super::strip_of(op).is_some())
}

impl Pass {
    /// Whether node `id` is computed by a strip.
    pub(crate) fn is_strip(&self, id: NodeId) -> bool {
        match &self.nodes[id] {
            Node::Apply(op, args) => is_strip(*op, self.types[args[0]]),
            _ => false,
        }
    }

    /// The nodes that a node refers to.
    pub(crate) fn operands(&self, id: NodeId) -> Vec<NodeId> {
        match &self.nodes[id] {
            Node::Const(_) | Node::Index(_) | Node::Pass(_) => Vec::new(),
            Node::Load(get) => get.gathers.iter().map(|g| g.index).chain(get.otherwise).collect(),
            Node::Apply(_, args) => args.clone(),
            Node::Cast(arg) => vec![*arg],
        }
    }

    /// What must be computed: the stored values, and the root if it is kept or reduced.
    pub(crate) fn roots(&self) -> Vec<NodeId> {
        let root = (self.keep || self.reduce.is_some()).then_some(self.root);
        self.stores.iter().map(|store| store.value).chain(root).collect()
    }

    /// Which nodes the roots depend on, themselves included.
    pub(crate) fn needed(&self) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        self.roots().into_iter().for_each(|root| needed[root] = true);
        // Operands come before users.
        for id in (0..self.nodes.len()).rev() {
            if needed[id] {
                self.operands(id).into_iter().for_each(|operand| needed[operand] = true);
            }
        }
        needed
    }

    fn for_each_index(&mut self, f: &mut dyn FnMut(&mut Index)) {
        for node in &mut self.nodes {
            match node {
                Node::Index(index) => f(index),
                Node::Load(get) => {
                    f(&mut get.at);
                    get.bounds.iter_mut().for_each(|bound| f(&mut bound.index));
                }
                _ => {}
            }
        }
        for store in &mut self.stores {
            f(&mut store.at);
            store.bounds.iter_mut().for_each(|bound| f(&mut bound.index));
        }
    }
}

/// A word for a form: its most telling function.
pub(crate) fn describe(form: &Form) -> String {
    let functions = form.passes.iter().flat_map(|pass| {
        let reduce = pass.reduce.map(|function| function.name());
        let mut applied = pass.nodes.iter().rev().filter_map(|node| match node {
            Node::Apply(op, _) => Some(op.name()),
            _ => None,
        });
        reduce.into_iter().chain(applied.next())
    });
    let words: Vec<&str> = functions.take(4).collect();
    if words.is_empty() { "copy".into() } else { words.join("_") }
}
