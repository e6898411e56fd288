//! Graph passes: what the compiler does to a graph before it becomes kernels.
//!
//! [`PASSES`] is the list, in order; [`optimize`] runs it. A pass reads one graph and builds another, recurses into
//! regions, and leaves a graph that verifies.

pub mod alternatives;
mod assign_layout;
mod canonicalize;
mod choose_winograd;
mod cost;
mod crop_windows;
mod egraph;
mod expand_attention;
mod expand_experts;
mod expand_recurrent;
mod expand_top_k;
mod expand_trees;
mod extract_calls;
mod fold_constants;
mod fold_scales;
mod known;
mod lower_strings;
mod merge_gates;
mod merge_groups;
mod merge_projections;
mod narrow_factors;
mod narrow_weights;
mod operand_order;
mod options;
pub mod partition;
pub mod quantize_contractions;
pub mod quantize_weights;
mod rebuild;
mod rules;
mod saturate;
pub mod schedule;
mod shuffle_conv_transpose;
mod sink_dequantize;
mod split;
mod split_sums;
mod states;
mod unfold_windows;
mod widen_halves;

pub use extract_calls::extract_calls;
use ic_ir::{Diagnostic, Graph, GraphError};
pub use options::{FpMode, IntegerWeights, Options, Precision, Rounded};
pub use partition::{PartitionOptions, hoist_branch_constants, partition, partition_with_states};
pub use rules::rule_names;
pub use split::{Split, split_by_input};
pub use states::{Append, BoundState, StatePort, append_axis, bind_states};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A step from graph to graph.
pub struct Pass {
    /// Its name, a verb.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The lowest `--opt-level` at which it runs.
    pub min_level: u8,
    /// Whether it reads an option that depends on the class of targets: then it and all after it run for each.
    pub depends_on_class: bool,
    /// Runs it alone.
    pub run: fn(&Graph, &Options) -> Result<Graph, PassError>,
    /// Runs it and adds what it did to a report.
    pub report: fn(&Graph, &Options, &mut Report) -> Result<Graph, PassError>,
}

macro_rules! passes {
    ($($name:ident, $level:literal, $class:ident, $summary:literal;)*) => {
        /// Every pass, in the order in which [`optimize`] runs them.
        pub const PASSES: &[Pass] = &[$(Pass {
            name: stringify!($name),
            summary: $summary,
            min_level: $level,
            depends_on_class: passes!(@$class),
            run: |graph, options| $name::$name(graph, options, &mut Report::default()),
            report: $name::$name,
        },)*];
    };
    (@any) => { false };
    (@class) => { true };
}

passes! {
    canonicalize, 0, any, "one spelling for what does nothing, dead and repeated nodes dropped";
    sink_dequantize, 0, any, "quantized contractions and what moves their operands on integers";
    fold_constants, 0, any, "small constants and shape arithmetic evaluated";
    crop_windows, 1, any, "convolutions without the windows that nothing reads";
    unfold_windows, 1, any, "convolutions of which one window covers the image as matrix products";
    saturate, 1, any, "equality saturation: algebra, recovery of compound ops, folding into weights";
    expand_attention, 0, class, "attention as products and a softmax, for targets without a kernel for it";
    expand_experts, 0, class, "mixtures of experts as gathers and products, for targets without a kernel for them";
    expand_recurrent, 0, class, "short recurrent layers as products and scalar functions, for targets without kernels for them";
    expand_top_k, 0, class, "searches as comparisons, sums and gathers, for targets without a kernel for them";
    expand_trees, 0, class, "tree ensembles as gathers and comparisons, for targets without a kernel for them";
    merge_projections, 1, class, "products of one operand for attention as one: queries, keys and values";
    merge_gates, 1, class, "products of which one gates the other as one op, for targets with a kernel for it";
    widen_halves, 0, class, "contractions, pools and searches of 16-bit floats in f32";
    shuffle_conv_transpose, 1, any, "transposed convolutions to few channels as products whose columns are shuffled";
    merge_groups, 1, class, "convolutions in narrow groups as ones in groups that fill a vector";
    assign_layout, 0, any, "convolutions and their surroundings to channels last";
    choose_winograd, 1, any, "3 by 3 convolutions in a quarter of the multiplications";
    split_sums, 1, class, "sums over pixels as sums of stretches, so that threads sum what they have computed";
    fold_scales, 1, any, "scales of quantizations folded into the constants of what they quantize";
    quantize_weights, 0, any, "weights of products as integers with scales, as --quantize says";
    narrow_factors, 0, class, "factors of contractions rounded to the 16 bits that --precision says, for matrix units";
    narrow_weights, 0, class, "weights rounded to the 16 bits that --precision says";
    lower_strings, 0, any, "constant strings from bytes, comparisons and choices of strings on their handles";
}

/// Whether what the passes make of the graph depends on [`Options::native_halves`] or [`Options::native_compounds`].
pub fn depends_on_class(graph: &Graph, options: &Options) -> bool {
    let is_half = |(_, value): (_, &ic_ir::Value)| {
        value.ty.as_tensor().is_some_and(|ty| matches!(ty.dtype, ic_types::DType::F16 | ic_types::DType::BF16))
    };
    let is_compound = |node: &ic_ir::Node| {
        use ic_ir::Op;
        let is_recurrent = matches!(node.op, Op::Lstm(_) | Op::Gru(_) | Op::Rnn(_));
        let is_pooling = matches!(&node.op, Op::Reduce(op) if node.operands[0].is_some_and(|x| {
            graph.ty(x).as_tensor().is_some_and(|x| split_sums::is_over_pixels(op, x))
        }));
        let is_mixture = matches!(node.op, Op::ExpertMatmul(_) | Op::Experts(_));
        is_recurrent
            || is_mixture
            || is_pooling
            || matches!(node.op, Op::Attention(_) | Op::Convolution(_) | Op::TreeEnsemble(_))
    };
    let in_regions = |node: &ic_ir::Node| node.regions.iter().any(|region| depends_on_class(region, options));
    options.precision != Precision::F32
        || graph.values().any(is_half)
        || graph.nodes().any(|(_, node)| is_compound(node) || in_regions(node))
}

/// Why a pass failed: always a defect of the pass, as its input is a sound graph.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A node that the pass made does not fit together.
    #[error("cannot rewrite {0}")]
    Graph(#[from] GraphError),
    /// The result does not verify.
    #[error("pass `{pass}` left an unsound graph: {problem}")]
    Unsound {
        /// The pass.
        pass: &'static str,
        /// The first problem.
        problem: Diagnostic,
    },
}

/// A graph after all passes, and how it came to be.
#[derive(Clone, Debug)]
pub struct Optimized {
    /// The graph.
    pub graph: Graph,
    /// What the passes did.
    pub report: Report,
}

/// What the passes did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each pass that ran, with the number of nodes after it.
    pub passes: Vec<(&'static str, usize)>,
    /// How often each rewrite rule changed something.
    pub rules: BTreeMap<&'static str, usize>,
    /// What equality saturation did.
    pub search: Search,
    /// For each place in the model where rules chose something else, the chain of rules in let-form, if it was asked for.
    pub explanations: Vec<(Arc<str>, Vec<String>)>,
    /// Contractions with a quantized factor that run on floats all the same: their nodes, and why.
    pub float_contractions: Vec<(String, String)>,
}

/// What equality saturation did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Search {
    /// Stretches of the graph, each with an e-graph of its own.
    pub stretches: usize,
    /// How many of them were searched; the others are like one of those.
    pub searched: usize,
    /// Rounds of the longest search.
    pub rounds: usize,
    /// Nodes of the largest e-graph.
    pub e_nodes: usize,
    /// How often the left side of each rule was found, in all stretches and rounds.
    pub matches: BTreeMap<&'static str, usize>,
}

/// Runs every pass of the level, in order.
///
/// # Errors
/// If a pass fails, which is a defect of the pass.
pub fn optimize(graph: &Graph, options: &Options) -> Result<Optimized, PassError> {
    let mut optimized = Optimized { graph: graph.clone(), report: Report::default() };
    for pass in PASSES.iter().filter(|pass| pass.min_level <= options.opt_level) {
        optimized.graph = (pass.report)(&optimized.graph, options, &mut optimized.report)?;
        optimized.report.passes.push((pass.name, count_nodes(&optimized.graph)));
        check(pass, &optimized.graph)?;
    }
    Ok(optimized)
}

/// Number of nodes, those of regions included.
fn count_nodes(graph: &Graph) -> usize {
    graph.nodes().map(|(_, node)| 1 + node.regions.iter().map(count_nodes).sum::<usize>()).sum()
}

fn check(pass: &Pass, graph: &Graph) -> Result<(), PassError> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    match ic_ir::verify(graph).into_iter().next() {
        Some(problem) => Err(PassError::Unsound { pass: pass.name, problem }),
        None => Ok(()),
    }
}
