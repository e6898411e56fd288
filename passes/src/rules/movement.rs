//! Movement through pointwise ops, where it meets its inverse.
//!
//! Movement sinks: a pointwise op of a moved value is a moved pointwise result. Where two movements meet they become
//! one, or nothing. The channels-last layout of images is not decided here.

use crate::egraph::rule::{build, rules};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::Op;
use ic_ir::ops::{Reduce, Transpose};
use ic_types::Dim;

rules! {
    /// f(transpose(x)) = transpose(f(x)).
    Exact "sink-transpose": "(unary:f (transpose:p ?x))" => "(transpose:p (unary:f ?x))";
    /// f(transpose(x), c) = transpose(f(x, c)) for a number c.
    Exact "sink-transpose-number": "(binary:f (transpose:p ?x) ?c)" => "(transpose:p (binary:f ?x ?c))", if is_number;
    /// f(transpose(x), transpose(y)) = transpose(f(x, y)).
    Exact "sink-transposes": "(binary:f (transpose:p ?x) (transpose:p ?y))" => "(transpose:p (binary:f ?x ?y))";
    /// A fold of a transposed value is the transposed fold over the axes that they were.
    Reassociating "sink-transpose-reduce": "(reduce:f (transpose:p ?x))" => build(sink_transpose_reduce);
    /// f(transpose_p(x), c) = transpose_p(f(x, transpose_p⁻¹(c))) for a constant c.
    Exact "sink-transpose-constant": "(binary:f (transpose:p ?x) ?c)" => build(sink_transpose), if |m| m.known("c") && !is_number(m);
    /// f(reshape(x)) = reshape(f(x)).
    Exact "sink-reshape": "(unary:f (reshape:r ?x))" => "(reshape:r (unary:f ?x))";
    /// f(reshape(x), c) = reshape(f(x, c)) for a number c.
    Exact "sink-reshape-number": "(binary:f (reshape:r ?x) ?c)" => "(reshape:r (binary:f ?x ?c))", if is_number;
    /// f(reshape(x), reshape(y)) = reshape(f(x, y)) for equal shapes.
    Exact "sink-reshapes": "(binary:f (reshape:r ?x) (reshape:r ?y))" => "(reshape:r (binary:f ?x ?y))", if same_shape;
    /// f(reshape(x), c) = reshape(f(x, reshape(c))) for a constant c, where only axes of extent 1 come and go.
    Exact "sink-reshape-constant": "(binary:f (reshape:r ?x) ?c)" => build(sink_reshape), if |m| m.known("c") && !is_number(m);
    /// transpose_p(transpose_q(x)) = transpose_{q∘p}(x).
    Exact "transpose-transpose": "(transpose:p (transpose:q ?x))" => build(transpose_transpose);
    /// A transpose of matrices goes through a reshape of their batch.
    Exact "transpose-reshape-batch": "(transpose:p (reshape:r ?x))" => build(transpose_matrices);
    /// Rows of a product change places with those of its left operand.
    Exact "transpose-rows": "(transpose:p (reshape:r (matmul ?x ?w)))" => build(transpose_rows);
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

fn transpose_matrices(site: &mut Site) -> Option<Id> {
    let (Op::Transpose(p), Op::Reshape(r)) = (site.op("p").clone(), site.op("r").clone()) else { return None };
    let from = site.ty(site.var("x"))?.shape.clone();
    let (rank, own) = (r.shape.len(), from.len());
    let swaps = |axis: usize, to: usize| match rank - axis {
        1 => to + 2 == rank,
        2 => to + 1 == rank,
        _ => to == axis,
    };
    let are_matrices = rank >= 2 && own >= 2 && from[own - 2..] == r.shape[rank - 2..];
    if !are_matrices || !p.perm.iter().enumerate().all(|(axis, &to)| swaps(axis, to)) {
        return None;
    }
    let mut perm: Vec<usize> = (0..own).collect();
    perm.swap(own - 2, own - 1);
    let transposed = site.add(Transpose { perm }, &[site.var("x")])?;
    let mut shape = r.shape;
    shape.swap(rank - 2, rank - 1);
    site.reshape(transposed, shape)
}

fn transpose_rows(site: &mut Site) -> Option<Id> {
    let (Op::Transpose(p), Op::Reshape(r)) = (site.op("p").clone(), site.op("r").clone()) else { return None };
    let (rows, w) = (&site.ty(site.var("x"))?.shape, &site.ty(site.var("w"))?.shape);
    let (k, [_, n]) = (rows.last()?.clone(), w.as_slice()) else { return None };
    let columns = r.shape.len().checked_sub(1)?;
    if r.shape[columns] != *n || p.perm[columns] != columns {
        return None;
    }
    let mut apart = r.shape;
    apart[columns] = k;
    let x = site.reshape(site.var("x"), apart)?;
    let x = site.add(p, &[x])?;
    site.add(ic_ir::ops::Matmul {}, &[x, site.var("w")])
}

fn sink_transpose_reduce(site: &mut Site) -> Option<Id> {
    let (Op::Reduce(reduce), Op::Transpose(p)) = (site.op("f").clone(), site.op("p").clone()) else { return None };
    if !reduce.keep_dims {
        return None;
    }
    let mut axes: Vec<usize> = reduce.axes.iter().map(|&axis| p.perm[axis]).collect();
    axes.sort_unstable();
    let folded = site.add(Reduce { axes, ..reduce }, &[site.var("x")])?;
    site.add(p, &[folded])
}

/// The extents of the constant, axes of extent 1 put before them so that it has `rank`.
fn constant_shape(site: &Site, rank: usize) -> Option<Vec<Dim>> {
    let own = &site.ty(site.var("c"))?.shape;
    let leading = rank.checked_sub(own.len())?;
    Some(std::iter::repeat_n(Dim::constant(1), leading).chain(own.iter().cloned()).collect())
}

fn sink_transpose(site: &mut Site) -> Option<Id> {
    let (Op::Transpose(op), f) = (site.op("p").clone(), site.op("f").clone()) else { return None };
    let rank = op.perm.len();
    let shape = constant_shape(site, rank)?;
    let c = site.reshape(site.var("c"), shape)?;
    let mut perm = vec![0; rank];
    op.perm.iter().enumerate().for_each(|(i, &axis)| perm[axis] = i);
    let c = site.add(Transpose { perm }, &[c])?;
    let result = site.add(f, &[site.var("x"), c])?;
    site.add(op, &[result])
}

fn sink_reshape(site: &mut Site) -> Option<Id> {
    let (f, reshape) = (site.op("f").clone(), site.op("r").clone());
    let Op::Reshape(op) = &reshape else { return None };
    let from = site.ty(site.var("x"))?.shape.clone();
    let is_long = |d: &&Dim| !d.is(1);
    if !from.iter().filter(is_long).eq(op.shape.iter().filter(is_long)) {
        return None;
    }
    let extents = constant_shape(site, op.shape.len())?;
    // The constant must not widen an axis of extent 1.
    if extents.iter().zip(&op.shape).any(|(c, d)| d.is(1) && !c.is(1)) {
        return None;
    }
    let mut long = extents.into_iter().zip(&op.shape).filter(|(_, d)| !d.is(1)).map(|(c, _)| c);
    let one = Dim::constant(1);
    let shape = from.iter().map(|d| if d.is(1) { Some(one.clone()) } else { long.next() }).collect::<Option<_>>()?;
    let c = site.reshape(site.var("c"), shape)?;
    let result = site.add(f, &[site.var("x"), c])?;
    site.add(reshape, &[result])
}
