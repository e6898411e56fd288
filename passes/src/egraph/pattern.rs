//! Patterns: how rules say on which nodes they work.
//!
//! ```text
//! (div ?e (reduce[function=sum]:s ?e))
//! ```
//! `?e` stands for any class, the same one wherever it is written. A number stands for a constant of which every
//! element is that number, `_` for an absent operand. `[…]` demands attributes, by their text. `:s` captures the op.
//! `unary` and `binary` stand for any pointwise op of that arity. `mul*` and `add*` stand for a product or sum in any
//! association. Commutative ops match in both orders, so that no rule has to say that they commute.

use super::EGraph;
use super::language::{Head, OpId};
use egg::Id;
use ic_ir::Op;
use ic_ir::scalar::ScalarOp;
use ic_types::DType;

/// Matches of one pattern at one class that are looked at: a bound for classes with many equal spellings.
const MAX_MATCHES: usize = 64;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// The outermost part.
    pub(crate) root: Part,
    /// Names of the class variables.
    pub(crate) vars: Vec<String>,
    /// Names of the captured ops.
    pub(crate) captures: Vec<String>,
}

/// A part of a pattern.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Part {
    /// Any class.
    Var(usize),
    /// A constant of one repeated number.
    Number(f64),
    /// An absent operand.
    Absent,
    /// A node.
    Node {
        /// What the node is.
        head: PartHead,
        /// Attributes that it must have, as text.
        attrs: Vec<(String, String)>,
        /// Where its op is kept.
        capture: Option<usize>,
        /// Its operands.
        children: Vec<Part>,
    },
    /// Operands joined by a commutative function, in any order and association.
    Chain(ScalarOp, Vec<Part>),
}

impl Part {
    fn has(&self, function: ScalarOp) -> bool {
        match self {
            Part::Node { head, children, .. } => {
                *head == PartHead::Op(Head::Pointwise(function)) || children.iter().any(|child| child.has(function))
            }
            Part::Chain(own, parts) => *own == function || parts.iter().any(|part| part.has(function)),
            Part::Var(_) | Part::Number(_) | Part::Absent => false,
        }
    }
}

/// What a node of a pattern is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum PartHead {
    /// This op.
    Op(Head),
    /// Any pointwise op of one operand.
    Unary,
    /// Any pointwise op of two operands.
    Binary,
}

/// Classes and ops to which a match binds a pattern's names.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Bindings {
    /// By variable.
    pub(crate) classes: Vec<Option<Id>>,
    /// By capture.
    pub(crate) ops: Vec<Option<OpId>>,
}

/// Whether the order of the operands does not matter.
pub(crate) fn commutes(function: ScalarOp) -> bool {
    matches!(function, ScalarOp::Add | ScalarOp::Mul | ScalarOp::Max | ScalarOp::Min | ScalarOp::Eq | ScalarOp::Ne)
        || matches!(function, ScalarOp::And | ScalarOp::Or | ScalarOp::Xor)
        || matches!(function, ScalarOp::BitAnd | ScalarOp::BitOr | ScalarOp::BitXor)
}

impl Pattern {
    /// The ways in which class `id` matches.
    pub(crate) fn search(&self, egraph: &EGraph, id: Id) -> Vec<Bindings> {
        let empty = Bindings { classes: vec![None; self.vars.len()], ops: vec![None; self.captures.len()] };
        let mut found = extend(egraph, &self.root, id, vec![empty]);
        found.truncate(MAX_MATCHES);
        found
    }

    /// Whether a node of the pattern is `function`.
    pub(crate) fn has(&self, function: ScalarOp) -> bool {
        self.root.has(function)
    }

    /// The head of the outermost node, if it is one op.
    pub(crate) fn head(&self) -> Option<Head> {
        match &self.root {
            Part::Node { head: PartHead::Op(head), .. } => Some(*head),
            Part::Chain(function, _) => Some(Head::Pointwise(*function)),
            _ => None,
        }
    }
}

/// Every way in which one of `bindings` can be extended so that `part` matches class `id`.
pub(super) fn extend(egraph: &EGraph, part: &Part, id: Id, bindings: Vec<Bindings>) -> Vec<Bindings> {
    let id = egraph.find(id);
    match part {
        Part::Var(var) => bindings.into_iter().filter_map(|b| b.bind_class(egraph, *var, id)).collect(),
        Part::Number(number) => {
            if is_number(egraph, id, *number) {
                bindings
            } else {
                Vec::new()
            }
        }
        Part::Absent => {
            if egraph[id].data.types.is_empty() {
                bindings
            } else {
                Vec::new()
            }
        }
        Part::Node { head, attrs, capture, children } => {
            let mut found = Vec::new();
            for node in &egraph[id].nodes {
                if node.children.len() != children.len() || !fits(egraph, node.op, *head, attrs) {
                    continue;
                }
                let bound = bindings.iter().filter_map(|b| b.clone().bind_op(*capture, node.op)).collect::<Vec<_>>();
                if bound.is_empty() {
                    continue;
                }
                found.extend(extend_all(egraph, children, &node.children, bound.clone()));
                if children.len() == 2 && commutative(egraph, node.op) && node.children[0] != node.children[1] {
                    let swapped = [node.children[1], node.children[0]];
                    found.extend(extend_all(egraph, children, &swapped, bound));
                }
                found.truncate(MAX_MATCHES);
            }
            found
        }
        Part::Chain(function, parts) => {
            let mut found = Vec::new();
            for terms in terms(egraph, *function, id, parts.len()) {
                found.extend(extend_set(egraph, parts, &terms, bindings.clone()));
                found.truncate(MAX_MATCHES);
            }
            found
        }
    }
}

fn extend_all(egraph: &EGraph, parts: &[Part], ids: &[Id], bindings: Vec<Bindings>) -> Vec<Bindings> {
    parts.iter().zip(ids).fold(bindings, |bindings, (part, &id)| {
        if bindings.is_empty() { bindings } else { extend(egraph, part, id, bindings) }
    })
}

/// Matches `parts` with `ids` in any order.
fn extend_set(egraph: &EGraph, parts: &[Part], ids: &[Id], bindings: Vec<Bindings>) -> Vec<Bindings> {
    let Some((first, rest)) = parts.split_first() else { return bindings };
    let mut found = Vec::new();
    for i in 0..ids.len() {
        let bound = extend(egraph, first, ids[i], bindings.clone());
        if !bound.is_empty() {
            let others: Vec<Id> = [&ids[..i], &ids[i + 1..]].concat();
            found.extend(extend_set(egraph, rest, &others, bound));
        }
    }
    found
}

/// The ways to write a class as `function` of `n` classes.
pub(super) fn terms(egraph: &EGraph, function: ScalarOp, id: Id, n: usize) -> Vec<Vec<Id>> {
    if n == 1 {
        return vec![vec![id]];
    }
    let mut found = Vec::new();
    for node in &egraph[egraph.find(id)].nodes {
        if egraph.analysis.ops.head(node.op) != Head::Pointwise(function) {
            continue;
        }
        for left in 1..n {
            for a in terms(egraph, function, node.children[0], left) {
                for b in terms(egraph, function, node.children[1], n - left) {
                    found.push([a.as_slice(), &b].concat());
                }
            }
        }
        found.truncate(MAX_MATCHES);
    }
    found
}

/// Whether the order of an op's operands does not matter.
pub(crate) fn commutative(egraph: &EGraph, op: OpId) -> bool {
    matches!(egraph.analysis.ops.head(op), Head::Pointwise(function) if commutes(function))
}

/// Whether an op is what a node of a pattern wants.
pub(super) fn fits(egraph: &EGraph, op: OpId, wanted: PartHead, attrs: &[(String, String)]) -> bool {
    let head = egraph.analysis.ops.head(op);
    let fits = match (wanted, head) {
        (PartHead::Op(wanted), head) => wanted == head,
        (PartHead::Unary, Head::Pointwise(function)) => function.arity() == 1,
        (PartHead::Binary, Head::Pointwise(function)) => function.arity() == 2,
        _ => false,
    };
    fits && (attrs.is_empty() || has_attrs(egraph, op, attrs))
}

fn has_attrs(egraph: &EGraph, op: OpId, wanted: &[(String, String)]) -> bool {
    let super::Kind::Op(op) = egraph.analysis.ops.kind(op) else { return false };
    op_has_attrs(op, wanted)
}

/// Whether the op's attributes have these texts; one that is not printed has its default.
pub(crate) fn op_has_attrs(op: &Op, wanted: &[(String, String)]) -> bool {
    let attrs = op.attrs();
    wanted.iter().all(|(name, text)| attrs.iter().any(|(n, t)| n == name && t == text))
}

/// Whether every element of a class is `number`: exactly, or as well as the element type can say it where the number
/// is not a short binary fraction.
fn is_number(egraph: &EGraph, id: Id, number: f64) -> bool {
    let facts = &egraph[id].data;
    let Some(value) = facts.splat else { return false };
    let tolerance = match facts.types.first().and_then(|ty| ty.as_tensor()).map(|ty| ty.dtype) {
        _ if !number.is_finite() || (number * 64.0).fract() == 0.0 => return value == number,
        Some(DType::F16) => 1e-3,
        Some(DType::BF16) => 8e-3,
        _ => 2e-6,
    };
    (value - number).abs() <= tolerance * number.abs()
}

impl Bindings {
    fn bind_class(mut self, egraph: &EGraph, var: usize, id: Id) -> Option<Bindings> {
        match self.classes[var] {
            Some(bound) => (egraph.find(bound) == id).then_some(self),
            None => {
                self.classes[var] = Some(id);
                Some(self)
            }
        }
    }

    fn bind_op(mut self, capture: Option<usize>, op: OpId) -> Option<Bindings> {
        let Some(capture) = capture else { return Some(self) };
        match self.ops[capture] {
            Some(bound) => (bound == op).then_some(self),
            None => {
                self.ops[capture] = Some(op);
                Some(self)
            }
        }
    }
}

/// Reads a pattern.
///
/// # Panics
/// If the text is malformed. Patterns are part of the program, and a test reads them all.
pub(crate) fn parse(text: &str) -> Pattern {
    let mut pattern = Pattern { root: Part::Absent, vars: Vec::new(), captures: Vec::new() };
    let mut rest = text;
    pattern.root = parse_part(&mut rest, &mut pattern).unwrap_or_else(|| panic!("malformed pattern `{text}`"));
    assert!(rest.trim().is_empty(), "malformed pattern `{text}`: `{rest}` is left");
    pattern
}

fn parse_part(rest: &mut &str, pattern: &mut Pattern) -> Option<Part> {
    *rest = rest.trim_start();
    if let Some(inner) = rest.strip_prefix('(') {
        *rest = inner;
        let end = rest.find([' ', ')'])?;
        let (mut name, tail) = rest.split_at(end);
        *rest = tail;
        let mut capture = None;
        if let Some((before, captured)) = name.rsplit_once(':') {
            (name, capture) = (before, Some(number_of(&mut pattern.captures, captured)));
        }
        let mut attrs = Vec::new();
        if let Some((before, list)) = name.split_once('[') {
            name = before;
            for attr in list.strip_suffix(']')?.split(',') {
                let (key, value) = attr.split_once('=')?;
                attrs.push((key.to_string(), value.to_string()));
            }
        }
        let mut children = Vec::new();
        while !rest.trim_start().starts_with(')') {
            children.push(parse_part(rest, pattern)?);
        }
        *rest = &rest.trim_start()[1..];
        return match name {
            "mul*" => Some(Part::Chain(ScalarOp::Mul, children)),
            "add*" => Some(Part::Chain(ScalarOp::Add, children)),
            "unary" => Some(Part::Node { head: PartHead::Unary, attrs, capture, children }),
            "binary" => Some(Part::Node { head: PartHead::Binary, attrs, capture, children }),
            _ => Some(Part::Node { head: PartHead::Op(Head::of_name(name)?), attrs, capture, children }),
        };
    }
    let end = rest.find([' ', ')']).unwrap_or(rest.len());
    let (word, tail) = rest.split_at(end);
    *rest = tail;
    match word.strip_prefix('?') {
        Some(name) => Some(Part::Var(number_of(&mut pattern.vars, name))),
        None if word == "_" => Some(Part::Absent),
        None => word.parse().ok().map(Part::Number),
    }
}

fn number_of(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|n| n == name).unwrap_or_else(|| {
        names.push(name.to_string());
        names.len() - 1
    })
}
