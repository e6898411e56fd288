//! Equality saturation over one graph: an e-graph of its values, rules that add equal spellings, and the extraction
//! of the cheapest.
//!
//! [`language`] and [`facts`] say what an e-graph holds, [`pattern`] and [`site`] how rules read and write it,
//! [`convert`] how a graph goes in, [`extract`] and [`emit`] how it comes out.

pub(crate) mod convert;
pub(crate) mod emit;
pub(crate) mod extract;
pub(crate) mod facts;
pub(crate) mod language;
pub(crate) mod pattern;
pub(crate) mod rule;
pub(crate) mod site;

pub(crate) use facts::Analysis;
pub(crate) use language::{ENode, Kind};

/// The e-graph of one graph.
pub(crate) type EGraph = egg::EGraph<ENode, Analysis>;
