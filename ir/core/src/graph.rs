//! Graph IR: nodes in topological order, each the single definition of its results.
//!
//! A graph only grows: [`Graph::push`] infers the result types, so every graph is typed at every moment. A pass reads
//! one graph and builds another.

use crate::binding::Binding;
use crate::content::content_of;
use crate::op::{Constraint, OpError, Operands};
use crate::ops::Op;
use crate::types::Type;
use ic_types::{DType, Dim};
use std::collections::BTreeMap;
use std::sync::Arc;

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in the graph's list.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

entity!(
    /// A value of a graph.
    ValueId
);
entity!(
    /// A node of a graph.
    NodeId
);

/// The values that a symbolic dim may take, ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SymbolRange {
    /// Smallest extent.
    pub min: i64,
    /// Largest extent.
    pub max: i64,
}

/// What defines a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueDef {
    /// The graph's input of this index.
    Input(u32),
    /// The node's result of this index.
    Result(NodeId, u32),
}

/// A value: an input or the result of a node.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its type.
    pub ty: Type,
    /// Its definition.
    pub def: ValueDef,
    /// The model's name for it, if it has one.
    pub name: Option<Arc<str>>,
    /// Its elements as dimension expressions, where it is a small tensor of integers, bools (0 and 1) or whole floats
    /// and they are known.
    pub content: Option<Arc<[Dim]>>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// The op with its attributes.
    pub op: Op,
    /// Operands; `None` for an absent optional one.
    pub operands: Vec<Option<ValueId>>,
    /// Results.
    pub results: Vec<ValueId>,
    /// Nested graphs. They see nothing of the outer graph but their inputs.
    pub regions: Vec<Graph>,
    /// The model's name for the node that it came from.
    pub location: Arc<str>,
    /// Conditions on symbolic dims that the node's types rely on.
    pub constraints: Vec<Constraint>,
}

/// Why a node cannot be added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{op} at `{location}`: {source}")]
pub struct GraphError {
    /// Name of the op.
    pub op: &'static str,
    /// The model's name for the node.
    pub location: Arc<str>,
    /// What is wrong.
    pub source: OpError,
}

/// A typed SSA graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Known ranges of its symbols.
    pub symbols: BTreeMap<Arc<str>, SymbolRange>,
    nodes: Vec<Node>,
    values: Vec<Value>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    output_names: Vec<Arc<str>>,
    bindings: Vec<Binding>,
}

impl Graph {
    /// A graph with nothing in it.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// Adds an input.
    pub fn add_input(&mut self, name: impl Into<Arc<str>>, ty: impl Into<Type>) -> ValueId {
        let index = self.inputs.len() as u32;
        let value = self.add_value(Value {
            ty: ty.into(),
            def: ValueDef::Input(index),
            name: Some(name.into()),
            content: None,
        });
        self.inputs.push(value);
        value
    }

    /// Declares `value` an output.
    pub fn add_output(&mut self, name: impl Into<Arc<str>>, value: ValueId) {
        self.outputs.push(value);
        self.output_names.push(name.into());
    }

    /// Lets output `index` be another value.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn replace_output(&mut self, index: usize, value: ValueId) {
        self.outputs[index] = value;
    }

    /// Lets an element of an i64 tensor, which a run reads and which is not negative, be the value of a symbol.
    pub fn bind_symbol(&mut self, symbol: impl Into<Arc<str>>, value: ValueId, element: u32) {
        self.bindings.push(Binding { symbol: symbol.into(), value, element });
    }

    /// Adds a node without regions and returns its first result.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push(&mut self, op: Op, operands: &[ValueId], location: &Arc<str>) -> Result<ValueId, GraphError> {
        let operands = operands.iter().map(|&v| Some(v)).collect();
        Ok(self.push_node(op, operands, Vec::new(), location)?[0])
    }

    /// Adds a node and returns its results.
    ///
    /// # Errors
    /// If the operands do not fit the op, or a result would be implausibly large.
    pub fn push_node(
        &mut self,
        op: Op,
        operands: Vec<Option<ValueId>>,
        regions: Vec<Graph>,
        location: &Arc<str>,
    ) -> Result<Vec<ValueId>, GraphError> {
        let inferred = infer_node(self, &op, &operands, &regions);
        let Inferred { types, content, constraints } =
            inferred.map_err(|source| GraphError { op: op.name(), location: location.clone(), source })?;
        let node = NodeId(self.nodes.len() as u32);
        let results: Vec<ValueId> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| {
                let content = if i == 0 { content.clone() } else { None };
                self.add_value(Value { ty, def: ValueDef::Result(node, i as u32), name: None, content })
            })
            .collect();
        self.nodes.push(Node {
            op,
            operands,
            results: results.clone(),
            regions,
            location: location.clone(),
            constraints,
        });
        Ok(results)
    }

    fn add_value(&mut self, value: Value) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(value);
        id
    }

    /// Gives a value the model's name for it.
    pub fn set_name(&mut self, value: ValueId, name: impl Into<Arc<str>>) {
        self.values[value.index()].name = Some(name.into());
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// All nodes, operands before users.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i as u32), node))
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// All values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, value)| (ValueId(i as u32), value))
    }

    /// The type of a value.
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.value(id).ty
    }

    /// The tensor type of a value.
    ///
    /// # Panics
    /// If the value is a sequence or an optional.
    pub fn tensor_ty(&self, id: ValueId) -> &crate::TensorType {
        self.ty(id).as_tensor().expect("the value is a tensor")
    }

    /// The element type of a tensor value.
    ///
    /// # Panics
    /// If the value is a sequence or an optional.
    pub fn dtype(&self, id: ValueId) -> DType {
        self.tensor_ty(id).dtype
    }

    /// The node that defines `value`, if it is not an input.
    pub fn def(&self, value: ValueId) -> Option<&Node> {
        match self.value(value).def {
            ValueDef::Input(_) => None,
            ValueDef::Result(node, _) => Some(self.node(node)),
        }
    }

    /// The inputs.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The outputs.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// The outputs' names, in their order.
    pub fn output_names(&self) -> &[Arc<str>] {
        &self.output_names
    }

    /// The symbols that are elements of tensors, in the order in which they were bound.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The constant that `value` is, if a `constant` node defines it.
    pub fn constant(&self, value: ValueId) -> Option<&crate::Literal> {
        match &self.def(value)?.op {
            Op::Constant(constant) => Some(&constant.value),
            _ => None,
        }
    }

    /// The elements of `value` as dimension expressions: those that inference tracks, or that a `dims` node has, which
    /// may be too long to be tracked.
    pub fn elements(&self, value: ValueId) -> Option<&[Dim]> {
        self.value(value).content.as_deref().or_else(|| match &self.def(value)?.op {
            Op::Dims(dims) => Some(&dims.value[..]),
            _ => None,
        })
    }

    /// The nodes that use each value, by value index, in order; graph outputs are not counted.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for (id, node) in self.nodes() {
            for operand in node.operands.iter().flatten() {
                users[operand.index()].push(id);
            }
        }
        users
    }
}

/// What inference finds out about a node.
#[derive(Clone, Debug)]
pub struct Inferred {
    /// Types of the results.
    pub types: Vec<Type>,
    /// Elements of the first result.
    pub content: Option<Arc<[Dim]>>,
    /// Conditions that the types rely on.
    pub constraints: Vec<Constraint>,
}

/// Infers a node that is not yet in the graph.
pub(crate) fn infer_node(
    graph: &Graph,
    op: &Op,
    operands: &[Option<ValueId>],
    regions: &[Graph],
) -> Result<Inferred, OpError> {
    let value = |v: &Option<ValueId>| v.map(|v| graph.value(v));
    infer(
        op,
        Operands {
            types: operands.iter().map(|v| value(v).map(|v| &v.ty)).collect(),
            contents: operands.iter().map(|v| value(v).and_then(|v| v.content.as_deref())).collect(),
            regions,
            constraints: Default::default(),
        },
    )
}

/// Infers an op on operands of which only the types and contents exist.
///
/// # Errors
/// If the operands do not fit the op, or a result would be implausibly large.
pub fn infer(op: &Op, x: Operands) -> Result<Inferred, OpError> {
    check_operands(op, &x.types)?;
    let types = op.infer(&x)?;
    let constraints = x.constraints.take();
    for ty in types.iter().filter_map(Type::as_tensor) {
        crate::ensure!(
            ty.is_plausible(),
            "the result would be {ty}: an extent is negative, it exceeds 2^46 bytes, or its size is too long an expression"
        );
    }
    let content = content_of(op, &x, &types);
    Ok(Inferred { types, content, constraints })
}

fn check_operands(op: &Op, operands: &[Option<&Type>]) -> Result<(), OpError> {
    let specs = op.operands();
    for (i, spec) in specs.iter().enumerate().filter(|(_, spec)| !spec.optional && !spec.variadic) {
        crate::ensure!(operands.get(i).is_some_and(Option::is_some), "operand `{}` is missing", spec.name);
    }
    let variadic = specs.last().is_some_and(|spec| spec.variadic);
    crate::ensure!(
        variadic || operands.len() <= specs.len(),
        "takes at most {} operands, found {}",
        specs.len(),
        operands.len()
    );
    Ok(())
}
