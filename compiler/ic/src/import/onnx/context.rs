//! The state of an import: the graphs under construction and the names that are in scope.
//!
//! A *frame* is a graph under construction; a nested graph that becomes a region opens one. A *scope* is a set of names
//! in a frame; every nested graph and every function call opens one. A name that is found in an outer frame is captured:
//! constants and known shapes are repeated inside, everything else becomes an input of the region.

use super::error::{Refusal, Result, invalid};
use super::files::Files;
use super::objects::Kind;
use super::symbols::Symbols;
use ic_ir::ops::{Constant, Dims};
use ic_ir::{Builder, Diagnostic, Graph, Literal, Location, Type, ValueId};
use ic_types::Dim;
use onnx_protobuf::FunctionProto;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Binding {
    /// A value of the scope's frame.
    Value(ValueId),
    /// A constant that becomes a node where it is used; the number identifies it.
    Literal(u32, Arc<Literal>),
    /// An optional argument of a function that the call leaves out.
    Absent,
    /// The result of a node that was refused.
    Refused,
}

/// Versions of operator sets by domain; the default domain is empty.
pub(crate) type Opsets = Rc<BTreeMap<String, i64>>;

/// Names of one nested graph or function call.
#[derive(Debug)]
pub(crate) struct Scope {
    names: HashMap<String, Binding>,
    frame: usize,
    /// Whether the names of outer scopes are visible.
    is_open: bool,
    opsets: Opsets,
}

/// A graph under construction.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// The graph.
    pub(crate) graph: Graph,
    /// Values of the outer frame that are inputs here, in the order of the inputs.
    pub(crate) captures: Vec<ValueId>,
    captured: HashMap<ValueId, ValueId>,
    literals: HashMap<u32, ValueId>,
    /// The elements of the sequences that values stand for.
    sequences: HashMap<ValueId, Vec<ValueId>>,
    /// What is known of the values that are objects.
    pub(super) objects: HashMap<ValueId, Kind>,
    /// The symbols that stand for the elements of values.
    pub(super) read: HashMap<ValueId, Vec<Dim>>,
    /// Whether each value is a function of constants alone, for as many values as have been looked at.
    pub(super) known: Vec<bool>,
}

/// What is wrong with a model.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// Nodes that are not supported, one line each.
    pub(crate) unsupported: Vec<String>,
    /// Everything else.
    pub(crate) invalid: Vec<Diagnostic>,
}

/// Model-local functions by domain, name and overload.
pub(crate) type Functions = HashMap<(String, String, String), Rc<FunctionProto>>;

/// The state of an import.
#[derive(Debug)]
pub(crate) struct Context {
    /// The model's path, for messages.
    pub(crate) file: Arc<str>,
    /// The model's files.
    pub(crate) files: Files,
    /// The model's symbolic dims.
    pub(crate) symbols: Symbols,
    /// Model-local functions.
    pub(crate) functions: Functions,
    /// Functions whose bodies are being imported, outermost first.
    pub(crate) calls: Vec<(String, String, String)>,
    /// Names of the calls that lead here, each with a slash behind it.
    pub(crate) prefix: String,
    /// Name of the node that is being imported.
    pub(crate) location: Arc<str>,
    /// What is wrong.
    pub(crate) problems: Problems,
    /// What is odd.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Number of model nodes that have been imported.
    pub(crate) n_nodes: usize,
    frames: Vec<Frame>,
    scopes: Vec<Scope>,
    n_literals: u32,
}

impl Context {
    /// An import of the model at `file` with nothing in scope.
    pub(crate) fn new(file: Arc<str>, files: Files, symbols: Symbols, functions: Functions) -> Context {
        Context {
            file,
            files,
            symbols,
            functions,
            calls: Vec::new(),
            prefix: String::new(),
            location: "".into(),
            problems: Problems::default(),
            warnings: Vec::new(),
            n_nodes: 0,
            frames: vec![Frame::default()],
            scopes: Vec::new(),
            n_literals: 0,
        }
    }

    /// The frame under construction.
    pub(crate) fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the outermost frame is never closed")
    }

    /// The graph under construction.
    pub(crate) fn graph(&self) -> &Graph {
        &self.frames.last().expect("the outermost frame is never closed").graph
    }

    /// A builder at the current node.
    pub(crate) fn builder(&mut self) -> Builder<'_> {
        let location = self.location.clone();
        Builder { graph: &mut self.frame().graph, location }
    }

    /// Opens the frame of a region whose first inputs are `captures`.
    pub(crate) fn open_frame(&mut self, name: &str, captures: &[ValueId]) {
        self.frames.push(Frame { graph: Graph::new(name), ..Frame::default() });
        for &outer in captures {
            self.add_capture(self.frames.len() - 1, outer);
        }
    }

    /// Closes the frame of a region.
    pub(crate) fn close_frame(&mut self) -> Frame {
        self.frames.pop().expect("frames are closed once")
    }

    /// The value of the frame around the current one that `value` stands for, if it is captured.
    pub(crate) fn captured_from(&self, value: ValueId) -> Option<ValueId> {
        let frame = self.frames.last()?;
        frame.captured.iter().find(|(_, inner)| **inner == value).map(|(&outer, _)| outer)
    }

    /// Makes the frame around the current one the current one, until the frame that this returns is entered again.
    pub(crate) fn leave_frame(&mut self) -> Frame {
        self.frames.pop().expect("only frames of regions are left")
    }

    /// Makes a frame that was left the current one again.
    pub(crate) fn enter_frame(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// Opens a scope that sees the names of the outer ones.
    pub(crate) fn open_scope(&mut self) {
        let opsets = self.opsets();
        self.scopes.push(Scope { names: HashMap::new(), frame: self.frames.len() - 1, is_open: true, opsets });
    }

    /// Opens a scope that sees no other names.
    pub(crate) fn open_closed_scope(&mut self, opsets: Opsets) {
        self.scopes.push(Scope { names: HashMap::new(), frame: self.frames.len() - 1, is_open: false, opsets });
    }

    /// Closes the innermost scope.
    pub(crate) fn close_scope(&mut self) {
        self.scopes.pop();
    }

    /// Versions of operator sets in the innermost scope.
    pub(crate) fn opsets(&self) -> Opsets {
        self.scopes.last().map(|s| s.opsets.clone()).unwrap_or_default()
    }

    /// Gives `name` a meaning in the innermost scope.
    pub(crate) fn bind(&mut self, name: &str, binding: Binding) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.names.insert(name.into(), binding);
        }
    }

    /// Gives `name` to a constant in the innermost scope.
    pub(crate) fn bind_literal(&mut self, name: &str, literal: Literal) {
        self.n_literals += 1;
        self.bind(name, Binding::Literal(self.n_literals, Arc::new(literal)));
    }

    /// Whether `name` is in the innermost scope itself.
    pub(crate) fn is_local(&self, name: &str) -> bool {
        self.scopes.last().is_some_and(|scope| scope.names.contains_key(name))
    }

    /// What `name` stands for, and the frame that it belongs to.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &Binding)> {
        for scope in self.scopes.iter().rev() {
            if let Some(binding) = scope.names.get(name) {
                return Some((scope.frame, binding));
            }
            if !scope.is_open {
                break;
            }
        }
        None
    }

    /// The value that `name` stands for, as a value of the current frame; `None` for an absent argument.
    ///
    /// # Errors
    /// If the name is not defined, or its definition was refused.
    pub(crate) fn resolve(&mut self, name: &str) -> Result<Option<ValueId>> {
        let Some((frame, binding)) = self.find(name) else { return Err(invalid!("`{name}` is not defined")) };
        match binding.clone() {
            Binding::Absent => Ok(None),
            Binding::Refused => Err(Refusal::Reported),
            Binding::Literal(id, literal) => self.literal_value(id, &literal, name).map(Some),
            Binding::Value(value) => {
                let inner = (frame + 1..self.frames.len()).try_fold(value, |value, f| self.capture(f, value))?;
                Ok(Some(inner))
            }
        }
    }

    fn literal_value(&mut self, id: u32, literal: &Literal, name: &str) -> Result<ValueId> {
        if let Some(&value) = self.frame().literals.get(&id) {
            return Ok(value);
        }
        let frame = self.frame();
        let value = frame.graph.push(Constant { value: literal.clone() }.into(), &[], &name.into())?;
        frame.graph.set_name(value, name);
        frame.literals.insert(id, value);
        Ok(value)
    }

    /// How many frames are around the current one.
    pub(crate) fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    /// The value of the current frame that stands for `outer` of the frame of this depth.
    ///
    /// # Errors
    /// If it cannot be repeated inside.
    pub(crate) fn inner(&mut self, outer: ValueId, depth: usize) -> Result<ValueId> {
        (depth + 1..self.frames.len()).try_fold(outer, |value, frame| self.capture(frame, value))
    }

    /// A placeholder for a sequence of these elements.
    ///
    /// # Errors
    /// Never.
    pub(crate) fn sequence(&mut self, elements: Vec<ValueId>) -> Result<ValueId> {
        let placeholder = self.constant(ic_types::Tensor::scalar(elements.len() as i64))?;
        self.frame().sequences.insert(placeholder, elements);
        Ok(placeholder)
    }

    /// The elements of the sequence that a value stands for, if it does.
    pub(crate) fn sequence_of(&self, value: ValueId) -> Option<Vec<ValueId>> {
        self.frames.last()?.sequences.get(&value).cloned()
    }

    /// What is known of an object.
    pub(crate) fn object_kind(&self, value: ValueId) -> Option<Kind> {
        self.frames.last()?.objects.get(&value).cloned()
    }

    /// Fails if one of the values is a sequence or an optional.
    ///
    /// # Errors
    /// If so; `what` says what the values are.
    pub(crate) fn refuse_sequences(&self, values: &[ValueId], what: &str) -> Result<()> {
        match values.iter().any(|&value| self.sequence_of(value).is_some() || self.is_object(value)) {
            true => Err(super::error::unsupported!("{what} is a sequence")),
            false => Ok(()),
        }
    }

    /// The value of frame `frame` that stands for `outer` of the frame around it.
    fn capture(&mut self, frame: usize, outer: ValueId) -> Result<ValueId> {
        if let Some(&inner) = self.frames[frame].captured.get(&outer) {
            return Ok(inner);
        }
        if let Some(elements) = self.frames[frame - 1].sequences.get(&outer).cloned() {
            let elements = elements.into_iter().map(|v| self.capture(frame, v)).collect::<Result<Vec<_>>>()?;
            let literal = Literal::inline(ic_types::Tensor::scalar(elements.len() as i64));
            let inner = self.frames[frame].graph.push(Constant { value: literal }.into(), &[], &"".into())?;
            self.frames[frame].sequences.insert(inner, elements);
            self.frames[frame].captured.insert(outer, inner);
            return Ok(inner);
        }
        let value = self.frames[frame - 1].graph.value(outer).clone();
        let name = value.name.clone().unwrap_or_else(|| format!("v{}", outer.0).into());
        if let Some(literal) = self.frames[frame - 1].graph.constant(outer).cloned() {
            let inner = self.frames[frame].graph.push(Constant { value: literal }.into(), &[], &name)?;
            self.frames[frame].captured.insert(outer, inner);
            return Ok(inner);
        }
        if let (Some(content), Type::Tensor(ty)) = (&value.content, &value.ty) {
            let mut builder = Builder { graph: &mut self.frames[frame].graph, location: name };
            let dims = builder.push(Dims { value: content.to_vec() }, &[])?;
            let inner = super::build::shaped_like(&mut builder, dims, ty)?;
            self.frames[frame].captured.insert(outer, inner);
            return Ok(inner);
        }
        Ok(self.add_capture(frame, outer))
    }

    fn add_capture(&mut self, frame: usize, outer: ValueId) -> ValueId {
        let value = self.frames[frame - 1].graph.value(outer).clone();
        let name = value.name.unwrap_or_else(|| format!("v{}", outer.0).into());
        let kind = self.frames[frame - 1].objects.get(&outer).cloned();
        let frame = &mut self.frames[frame];
        let inner = frame.graph.add_input(name, value.ty);
        frame.objects.extend(kind.map(|kind| (inner, kind)));
        frame.captures.push(outer);
        frame.captured.insert(outer, inner);
        inner
    }

    /// Makes `outer` an input of a closed frame, if it is not yet. The frame around it must be the current one.
    pub(crate) fn add_late_capture(&self, frame: &mut Frame, outer: ValueId) {
        if !frame.captures.contains(&outer) {
            let value = self.graph().value(outer);
            let name = value.name.clone().unwrap_or_else(|| format!("v{}", outer.0).into());
            frame.graph.add_input(name, value.ty.clone());
            frame.captures.push(outer);
        }
    }

    /// Records why a node is refused.
    pub(crate) fn report(&mut self, node: &str, op: &str, refusal: Refusal) {
        match refusal {
            Refusal::Reported => {}
            Refusal::Unsupported(reason) => self.problems.unsupported.push(format!("`{node}` ({op}): {reason}")),
            Refusal::Invalid(message) => {
                let location = Location { file: self.file.clone(), node: node.into() };
                let message = if op.is_empty() { message } else { format!("{op}: {message}") };
                self.problems.invalid.push(Diagnostic::new(location, message));
            }
        }
    }

    /// Records something odd about the current node.
    pub(crate) fn warn(&mut self, message: impl Into<String>) {
        let location = Location { file: self.file.clone(), node: self.location.clone() };
        self.warnings.push(Diagnostic::new(location, message));
    }
}
