//! Why chosen nodes are equal to the model's: the rules that led to them, in let-form.
//!
//! A log of applications says which nodes each has made of which. Every node was made by one application at most, of
//! nodes that were there before, so that a chain is read from the log without searching for a proof, and its length is
//! that of the rules in it: what is used twice has a name.

use super::block::Block;
use super::language::Kind;
use super::pattern::{Bindings, Part, Pattern, commutative, extend, fits, terms};
use super::{EGraph, ENode};
use egg::{Id, Language};
use ic_ir::{Graph, Op, ValueDef};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Most lines about one node.
const MAX_LINES: usize = 48;

/// A rule that changed something.
struct Application {
    rule: &'static str,
    root: Id,
    /// The nodes of the left side, the outermost first.
    matched: Vec<(Id, ENode)>,
    /// The nodes of the right side that were not there before.
    made: Vec<ENode>,
}

/// What a search did.
#[derive(Default)]
pub(crate) struct Log {
    original: Vec<ENode>,
    applications: Vec<Application>,
}

impl Log {
    /// The log of a search that starts with these nodes.
    pub(crate) fn new(egraph: &EGraph) -> Log {
        let mut classes: Vec<Id> = egraph.classes().map(|class| class.id).collect();
        classes.sort_unstable();
        let original = classes.iter().flat_map(|&class| egraph[class].nodes.iter().cloned()).collect();
        Log { original, applications: Vec::new() }
    }

    /// Notes that a rule changed something.
    pub(crate) fn add(&mut self, rule: &'static str, root: Id, matched: Vec<(Id, ENode)>, made: Vec<ENode>) {
        self.applications.push(Application { rule, root, matched, made });
    }
}

/// The nodes of the e-graph that a match of a pattern consists of, the outermost first.
pub(crate) fn matched(egraph: &EGraph, pattern: &Pattern, root: Id, bindings: &Bindings) -> Vec<(Id, ENode)> {
    let mut found = Vec::new();
    collect(egraph, &pattern.root, root, bindings, &mut found);
    found
}

fn collect(egraph: &EGraph, part: &Part, id: Id, bindings: &Bindings, found: &mut Vec<(Id, ENode)>) {
    let id = egraph.find(id);
    let fits_part = |part: &Part, id: Id| !extend(egraph, part, id, vec![bindings.clone()]).is_empty();
    match part {
        Part::Var(_) | Part::Number(_) | Part::Absent => {}
        Part::Node { head, attrs, children, .. } => {
            for node in egraph[id].nodes.iter().filter(|node| fits(egraph, node.op, *head, attrs)) {
                let mut orders = vec![node.children.clone()];
                if node.children.len() == 2 && commutative(egraph, node.op) {
                    orders.push(vec![node.children[1], node.children[0]]);
                }
                let all_fit = |ids: &Vec<Id>| {
                    ids.len() == children.len() && children.iter().zip(ids).all(|(part, &id)| fits_part(part, id))
                };
                if let Some(ids) = orders.into_iter().find(all_fit) {
                    found.push((id, node.clone()));
                    children.iter().zip(ids).for_each(|(part, id)| collect(egraph, part, id, bindings, found));
                    return;
                }
            }
        }
        Part::Chain(function, parts) => {
            let is_joint = |node: &&ENode| matches!(egraph.analysis.ops.kind(node.op), Kind::Op(Op::Pointwise(op)) if op.function == *function);
            found.extend(egraph[id].nodes.iter().find(is_joint).map(|node| (id, node.clone())));
            for mut ids in terms(egraph, *function, id, parts.len()) {
                let places = parts.iter().map(|part| {
                    let at = ids.iter().position(|&id| fits_part(part, id))?;
                    Some((part, ids.remove(at)))
                });
                if let Some(places) = places.collect::<Option<Vec<_>>>() {
                    places.into_iter().for_each(|(part, id)| collect(egraph, part, id, bindings, found));
                    return;
                }
            }
        }
    }
}

/// The chain of rules to one chosen node, as names of the block have it.
pub(crate) struct Chain {
    location: u32,
    lines: Vec<Vec<Piece>>,
}

/// A piece of a line.
enum Piece {
    Text(String),
    /// The name of a place in the model, by number.
    Location(u32),
    /// A local value.
    Value(u32),
}

impl Chain {
    /// The place in the model, and the lines.
    pub(crate) fn of_block(&self, graph: &Graph, block: &Block) -> (Arc<str>, Vec<String>) {
        let value = |local: u32| {
            let value = graph.value(block.values[local as usize]);
            let location = match value.def {
                ValueDef::Result(id, _) => Some(graph.node(id).location.to_string()),
                ValueDef::Input(_) => None,
            };
            value.name.as_ref().map(ToString::to_string).or(location).unwrap_or_default()
        };
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Location(location) => format!("`{}`", block.locations[*location as usize]),
            Piece::Value(local) => format!("`{}`", value(*local)),
        };
        let lines = self.lines.iter().map(|line| line.iter().map(text).collect()).collect();
        (block.locations[self.location as usize].clone(), lines)
    }
}

/// A log that can be asked about a saturated e-graph.
pub(crate) struct Explainer<'a> {
    egraph: &'a EGraph,
    log: &'a Log,
    original: HashSet<ENode>,
    makers: HashMap<ENode, usize>,
}

impl<'a> Explainer<'a> {
    /// Prepares answers.
    pub(crate) fn new(egraph: &'a EGraph, log: &'a Log) -> Explainer<'a> {
        let original = log.original.iter().map(|node| canonical(egraph, node)).collect();
        let mut makers = HashMap::new();
        for (i, application) in log.applications.iter().enumerate() {
            for node in &application.made {
                makers.entry(canonical(egraph, node)).or_insert(i);
            }
        }
        Explainer { egraph, log, original, makers }
    }

    /// The chain of rules to a chosen node; none if the model has it, and no rule removed what stood for it.
    pub(crate) fn chain(&self, class: Id, node: &ENode) -> Option<Chain> {
        let class = self.egraph.find(class);
        let mut lines = Lines { explainer: self, lines: Vec::new(), names: HashMap::new(), seen: HashSet::new() };
        let removed = self.log.applications.iter().filter(|a| a.made.is_empty() && self.egraph.find(a.root) == class);
        for application in removed {
            let Some((at, outermost)) = application.matched.first() else { continue };
            let mut line = vec![Piece::Text(format!("{}: ", application.rule))];
            lines.node(&canonical(self.egraph, outermost), &mut line);
            line.push(Piece::Text(", at ".into()));
            line.push(Piece::Location(self.egraph[self.egraph.find(*at)].data.location));
            line.push(Piece::Text(", is one of its operands or known".into()));
            lines.lines.push(line);
        }
        let node = canonical(self.egraph, node);
        if self.maker(&node).is_some() {
            lines.explain(class, &node);
        }
        let lines = lines.lines;
        (!lines.is_empty()).then(|| Chain { location: self.egraph[class].data.location, lines })
    }

    fn maker(&self, node: &ENode) -> Option<&'a Application> {
        if self.original.contains(node) {
            return None;
        }
        self.makers.get(node).map(|&i| &self.log.applications[i])
    }
}

/// The lines about one node, with the names that they give to classes.
struct Lines<'e, 'a> {
    explainer: &'e Explainer<'a>,
    lines: Vec<Vec<Piece>>,
    names: HashMap<Id, usize>,
    seen: HashSet<(Id, ENode)>,
}

impl Lines<'_, '_> {
    fn explain(&mut self, class: Id, node: &ENode) {
        if self.lines.len() >= MAX_LINES || !self.seen.insert((class, node.clone())) {
            return;
        }
        let egraph = self.explainer.egraph;
        let maker = self.explainer.maker(node);
        for (class, node) in maker.iter().flat_map(|application| application.matched.iter().rev()) {
            self.explain(egraph.find(*class), &canonical(egraph, node));
        }
        let name = self.lines.len();
        let mut line = vec![Piece::Text(format!("let e{name} = "))];
        self.node(node, &mut line);
        match maker {
            Some(application) => line.push(Piece::Text(format!("  by {}", application.rule))),
            None => {
                line.push(Piece::Text("  in the model at ".into()));
                line.push(Piece::Location(egraph[class].data.location));
            }
        }
        self.names.insert(class, name);
        self.lines.push(line);
    }

    /// Writes a node, its operands by their names.
    fn node(&self, node: &ENode, line: &mut Vec<Piece>) {
        let egraph = self.explainer.egraph;
        let op = match egraph.analysis.ops.kind(node.op) {
            Kind::Op(Op::Constant(_)) => "constant".into(),
            Kind::Op(op) => {
                let attrs: Vec<String> = op.attrs().iter().map(|(name, text)| format!("{name}={text}")).collect();
                if attrs.is_empty() { op.name().to_string() } else { format!("{}[{}]", op.name(), attrs.join(", ")) }
            }
            Kind::Leaf(local) => return line.push(Piece::Value(*local)),
            Kind::Opaque(_) => "node".into(),
            Kind::Result(index) => format!("result {index}"),
            Kind::Absent => "_".into(),
        };
        line.push(Piece::Text(format!("{op}(")));
        for (i, &child) in node.children.iter().enumerate() {
            if i > 0 {
                line.push(Piece::Text(", ".into()));
            }
            line.push(self.operand(egraph.find(child)));
        }
        line.push(Piece::Text(")".into()));
    }

    fn operand(&self, class: Id) -> Piece {
        let egraph = self.explainer.egraph;
        let facts = &egraph[class].data;
        let leaf = egraph[class].nodes.iter().find_map(|node| match egraph.analysis.ops.kind(node.op) {
            Kind::Leaf(local) => Some(*local),
            _ => None,
        });
        match (self.names.get(&class), facts.splat, leaf) {
            (Some(name), ..) => Piece::Text(format!("e{name}")),
            (_, Some(number), _) => Piece::Text(format!("{number:?}")),
            (.., Some(local)) => Piece::Value(local),
            _ if facts.types.is_empty() => Piece::Text("_".into()),
            _ => Piece::Location(facts.location),
        }
    }
}

fn canonical(egraph: &EGraph, node: &ENode) -> ENode {
    node.clone().map_children(|child| egraph.find(child))
}
