//! Recovery of scaled dot-product attention.
//!
//! Every spelling has the two products around a softmax. The scores between them may be scaled, limited (softcap) and
//! masked, and a softmax of NaN replaced by 0: one rule for each combination finds the compound op. What else belongs to
//! it, [`operands`] takes in one at a time.

mod operands;

use crate::egraph::pattern::parse;
use crate::egraph::rule::{FpClass, Rule, build};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::ops::{Attention, axis_of};
use ic_ir::scalar::ScalarOp;
use ic_ir::{F32, Op};
use ic_types::DType;

/// The rules for one spelling of unmasked scores: as they are, masked by a sum, by a choice, or by both.
macro_rules! masks {
    ($name:literal, $law:literal, $scores:literal) => {
        [
            softmaxes!($name, $law, $scores),
            softmaxes!(concat!($name, "-mask"), $law, concat!("(add ", $scores, " ?m)")),
            softmaxes!(concat!($name, "-where"), $law, concat!("(select ?seen ", $scores, " ?fill)")),
            softmaxes!(concat!($name, "-where-not"), $law, concat!("(select ?hidden ?fill ", $scores, ")")),
            softmaxes!(concat!($name, "-where-mask"), $law, concat!("(add (select ?seen ", $scores, " ?fill) ?m)")),
        ]
    };
}

/// The rules for one spelling of scores: with their softmax as it is, or with 0 where it is NaN.
macro_rules! softmaxes {
    ($name:expr, $law:literal, $scores:expr) => {
        [
            ($name, $law, concat!("(matmul (softmax:s ", $scores, ") ?v)")),
            (
                concat!($name, "-nan"),
                $law,
                concat!("(matmul (select (is_nan (softmax:s ", $scores, ")) 0.0 (softmax:s ", $scores, ")) ?v)"),
            ),
        ]
    };
}

/// The rule for one spelling of scores whose softmax is replaced by 0 in rows that the mask hides.
macro_rules! hidden_rows {
    ($name:literal, $scores:literal) => {
        (
            $name,
            "softmax(s + m) · v, 0 in rows where m is -∞ all along, is attention that gives 0 where the softmax is NaN.",
            concat!(
                "(matmul (select (eq (reduce[function=max]:r ?m) -inf) 0.0 (softmax:s (add ",
                $scores,
                " ?m))) ?v)"
            ),
        )
    };
}

/// Name, law and left side of a rule.
type Spelling = (&'static str, &'static str, &'static str);

/// The rules that find attention.
const SPELLINGS: [[[Spelling; 2]; 5]; 3] = [
    masks!("attention", "softmax(mask(q · k)) · v is attention with k transposed.", "(matmul ?q ?k)"),
    masks!(
        "attention-scaled",
        "softmax(mask(q · k · c)) · v is attention with k transposed, scaled by c.",
        "(mul (matmul ?q ?k) ?factor)"
    ),
    masks!(
        "attention-capped",
        "softmax(mask(t · tanh(q · k · c))) · v is attention with k transposed, scaled by c · t and capped at t.",
        "(mul (tanh (mul (matmul ?q ?k) ?factor)) ?cap)"
    ),
];

/// Those whose softmax is replaced by 0 in rows that the mask hides, as ONNX defines the operator.
const HIDDEN_ROWS: [Spelling; 3] = [
    hidden_rows!("attention-rows", "(matmul ?q ?k)"),
    hidden_rows!("attention-scaled-rows", "(mul (matmul ?q ?k) ?factor)"),
    hidden_rows!("attention-capped-rows", "(mul (tanh (mul (matmul ?q ?k) ?factor)) ?cap)"),
];

/// The rules of this topic.
pub(super) fn rules() -> Vec<Rule> {
    let rule = |&(name, law, left): &Spelling| Rule {
        name,
        law,
        class: FpClass::Reassociating,
        left: parse(left),
        right: build(attention),
        when: |site| is_along_keys(site).unwrap_or(false),
    };
    let hidden = |spelling: &Spelling| Rule { when: |site| hides_rows(site).unwrap_or(false), ..rule(spelling) };
    let spellings = SPELLINGS.as_flattened().as_flattened().iter().map(rule);
    spellings.chain(HIDDEN_ROWS.iter().map(hidden)).chain(operands::rules()).collect()
}

/// Whether the greatest entry of the mask is taken along the keys too.
fn hides_rows(site: &Site) -> Option<bool> {
    let Op::Reduce(reduce) = site.op("r") else { return None };
    let rank = site.ty(site.var("m"))?.rank();
    let is_last = matches!(reduce.axes.as_slice(), &[axis] if axis + 1 == rank);
    Some(is_last && reduce.keep_dims && is_along_keys(site)?)
}

/// Whether the softmax runs along the last axis of scores of a type that attention kernels take. Of bf16, the rounding of
/// each step shows.
fn is_along_keys(site: &Site) -> Option<bool> {
    let Op::Softmax(softmax) = site.op("s") else { return None };
    let ty = site.ty(site.root)?;
    let is_wanted = matches!(ty.dtype, DType::F32 | DType::F16);
    Some(is_wanted && axis_of(softmax.axis, ty.rank()).ok()? + 1 == ty.rank())
}

fn attention(site: &mut Site) -> Option<Id> {
    let (q, v) = (site.var("q"), site.var("v"));
    let k = site.swapped(site.var("k"))?;
    let mut op = Attention { scale: F32(1.0), softcap: F32(0.0), causal: None, fill: NEVER, nan_is_zero: false };
    op.nan_is_zero = site.pattern.has(ScalarOp::IsNan) || site.pattern.has(ScalarOp::Eq);
    if let Some(factor) = site.optional("factor") {
        op.scale = F32(site.facts(factor).splat? as f32);
    }
    if let Some(cap) = site.optional("cap") {
        let cap = site.facts(cap).splat.filter(|cap| *cap != 0.0 && cap.is_finite())?;
        op.softcap = F32(cap as f32);
        op.scale = F32((f64::from(op.scale.0) * cap) as f32);
    }
    let (mask, fill) = mask(site)?;
    op.fill = fill;
    site.add(op, &[q, k, v, mask])
}

/// The score of a key that has no part in a row.
const NEVER: F32 = F32(f32::NEG_INFINITY);

/// The mask of the match, and the score of what it hides.
fn mask(site: &mut Site) -> Option<(Id, F32)> {
    let fill = match site.optional("fill") {
        Some(f) => F32(site.facts(f).splat? as f32),
        None => NEVER,
    };
    Some(match (site.optional("seen"), site.optional("hidden"), site.optional("m")) {
        // Beside a score as low as this, every other vanishes.
        (Some(seen), _, Some(added)) if fill.0 < -1e30 => {
            let fill = site.var("fill");
            (site.add(ScalarOp::Select, &[seen, added, fill])?, NEVER)
        }
        (Some(_), _, Some(_)) => return None,
        (Some(seen), ..) => (seen, fill),
        (_, Some(hidden), _) => (site.add(ScalarOp::Not, &[hidden])?, fill),
        (.., Some(added)) => (added, NEVER),
        _ => (site.absent(), NEVER),
    })
}
