//! Movement through pointwise ops, where it meets its inverse.
//!
//! Movement sinks: a pointwise op of a moved value is a moved pointwise result. Where two movements meet they become
//! one, or nothing. The channels-last layout of images is not decided here.

use crate::egraph::rule::{build, rules};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::Op;
use ic_ir::ops::Transpose;

rules! {
    /// f(transpose(x)) = transpose(f(x)).
    Exact "sink-transpose": "(unary:f (transpose:p ?x))" => "(transpose:p (unary:f ?x))";
    /// f(transpose(x), c) = transpose(f(x, c)) for a number c.
    Exact "sink-transpose-number": "(binary:f (transpose:p ?x) ?c)" => "(transpose:p (binary:f ?x ?c))", if is_number;
    /// f(transpose(x), transpose(y)) = transpose(f(x, y)) for equal shapes.
    Exact "sink-transposes": "(binary:f (transpose:p ?x) (transpose:p ?y))" => "(transpose:p (binary:f ?x ?y))", if same_shape;
    /// f(reshape(x)) = reshape(f(x)).
    Exact "sink-reshape": "(unary:f (reshape:r ?x))" => "(reshape:r (unary:f ?x))";
    /// f(reshape(x), c) = reshape(f(x, c)) for a number c.
    Exact "sink-reshape-number": "(binary:f (reshape:r ?x) ?c)" => "(reshape:r (binary:f ?x ?c))", if is_number;
    /// f(reshape(x), reshape(y)) = reshape(f(x, y)) for equal shapes.
    Exact "sink-reshapes": "(binary:f (reshape:r ?x) (reshape:r ?y))" => "(reshape:r (binary:f ?x ?y))", if same_shape;
    /// transpose_p(transpose_q(x)) = transpose_{q∘p}(x).
    Exact "transpose-transpose": "(transpose:p (transpose:q ?x))" => build(transpose_transpose);
    /// A transpose that leaves the axes in their order is nothing.
    Exact "transpose-identity": "(transpose:p ?x)" => "?x", if |m| matches!(m.op("p"), Op::Transpose(op) if op.perm.is_sorted());
    /// reshape(reshape(x)) = reshape(x).
    Exact "reshape-reshape": "(reshape:r (reshape:s ?x))" => "(reshape:r ?x)";
    /// A reshape to the same shape is nothing.
    Exact "reshape-identity": "(reshape:r ?x)" => "?x";
}

/// A constant that is one number whatever its shape, and does not widen the other operand.
fn is_number(site: &Site) -> bool {
    let c = site.var("c");
    site.facts(c).splat.is_some() && site.ty(c).is_some_and(|ty| ty.elements().is(1) && ty.rank() <= 1)
}

fn same_shape(site: &Site) -> bool {
    site.ty(site.var("x")).map(|ty| &ty.shape) == site.ty(site.var("y")).map(|ty| &ty.shape)
}

fn transpose_transpose(site: &mut Site) -> Option<Id> {
    let (Op::Transpose(p), Op::Transpose(q)) = (site.op("p").clone(), site.op("q").clone()) else { return None };
    let perm = p.perm.iter().map(|&axis| q.perm[axis]).collect();
    site.add(Transpose { perm }, &[site.var("x")])
}
