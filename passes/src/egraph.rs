//! Equality saturation over one graph: an e-graph of its values, rules that add equal spellings, and the extraction
//! of the cheapest.
//!
//! [`language`] and [`facts`] say what an e-graph holds, [`pattern`] and [`site`] how rules read and write it,
//! [`block`] and [`convert`] how a stretch of a graph goes in, [`extract`] and [`plan`] how it comes out, [`explain`] why.

pub(crate) mod block;
pub(crate) mod convert;
pub(crate) mod explain;
pub(crate) mod extract;
pub(crate) mod facts;
pub(crate) mod language;
pub(crate) mod pattern;
pub(crate) mod plan;
pub(crate) mod rule;
pub(crate) mod site;

pub(crate) use facts::Analysis;
pub(crate) use language::{ENode, Kind};

/// The e-graph of one graph.
pub(crate) type EGraph = egg::EGraph<ENode, Analysis>;
