//! Matches what follows a contraction against the menu of in-register epilogues.
//!
//! The menu applies one op after the other to the result, so an expression fits if it is a chain: each function has one
//! argument that leads to the result, and its other argument is a vector along the last axis, a tensor of the result's
//! shape, or a constant bound.

use crate::shared::form::{dense_strides, linear};
use crate::shared::strip_of;
use ic_ir::ScalarOp;
use ic_ir::kernel::{Expr, ExprId, Index, Kernel, Load, Stage};
use ic_kernels::abi::Strip;
use ic_types::{DType, Dim};

/// One op of the menu, over parameters of the kernel.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum MenuOp {
    /// Add a vector along the last axis.
    AddColumn(u32),
    /// Multiply by a vector along the last axis.
    MulColumn(u32),
    /// Add a tensor of the result's shape.
    AddTensor(u32),
    /// Multiply by a tensor of the result's shape.
    MulTensor(u32),
    /// Clamp to an interval.
    Clamp(f32, f32),
    /// Apply a strip.
    Strip(Strip),
    /// Multiply by the one element of a parameter.
    MulScalar(u32),
    /// Multiply by a number.
    Scale(f32),
    /// Add a number.
    Offset(f32),
    /// Add a tensor of 8-bit integers, dequantized.
    AddQuantized {
        /// The parameter.
        param: u32,
        /// What an integer step is worth.
        scale: f32,
        /// The integer that stands for 0.
        zero: f32,
    },
    /// Quantize.
    Quantize {
        /// What an integer step is worth.
        scale: f32,
        /// The integer that stands for 0.
        zero: f32,
        /// The integers' type.
        to: DType,
    },
}

/// The menu ops that compute the root of `stage` from the result of stage 0; `None` if it is no chain of them.
pub(super) fn match_menu(kernel: &Kernel, stage: &Stage) -> Option<Vec<MenuOp>> {
    let mut chain = Vec::new();
    let mut at = (stage.body.len() as ExprId).checked_sub(1)?;
    loop {
        let Expr::Apply(function, args) = &stage.body[at as usize] else {
            let is_result = matches!(&stage.body[at as usize], Expr::Stage(0));
            chain.reverse();
            return is_result.then_some(chain);
        };
        let (op, next) = match args.as_slice() {
            [x] => (MenuOp::Strip(strip(*function)?), *x),
            [a, b] => {
                let (spine, other) = if leads_to_result(stage, *a) { (*a, *b) } else { (*b, *a) };
                (binary(kernel, stage, *function, other)?, spine)
            }
            _ => return None,
        };
        chain.push(op);
        at = next;
    }
}

pub(super) fn strip(function: ScalarOp) -> Option<Strip> {
    match function {
        ScalarOp::Relu => Some(Strip::Relu),
        ScalarOp::HardSwish => Some(Strip::HardSwish),
        ScalarOp::Sqrt => Some(Strip::Sqrt),
        function => strip_of(function),
    }
}

pub(super) fn leads_to_result(stage: &Stage, at: ExprId) -> bool {
    match &stage.body[at as usize] {
        Expr::Stage(0) => true,
        Expr::Apply(_, args) => args.iter().any(|&arg| leads_to_result(stage, arg)),
        Expr::Cast(_, arg) => leads_to_result(stage, *arg),
        _ => false,
    }
}

fn binary(kernel: &Kernel, stage: &Stage, function: ScalarOp, other: ExprId) -> Option<MenuOp> {
    if let Expr::Load(load) = &stage.body[other as usize]
        && kernel.params[load.param as usize].dtype != DType::F32
    {
        return None;
    }
    match (function, &stage.body[other as usize]) {
        (ScalarOp::Add, Expr::Load(load)) if is_column(kernel, load) => Some(MenuOp::AddColumn(load.param)),
        (ScalarOp::Mul, Expr::Load(load)) if is_column(kernel, load) => Some(MenuOp::MulColumn(load.param)),
        (ScalarOp::Add, Expr::Load(load)) if is_whole(kernel, stage, load) => Some(MenuOp::AddTensor(load.param)),
        (ScalarOp::Mul, Expr::Load(load)) if is_whole(kernel, stage, load) => Some(MenuOp::MulTensor(load.param)),
        (ScalarOp::Max, Expr::Const(DType::F32, bits)) => {
            Some(MenuOp::Clamp(f32::from_bits(*bits as u32), f32::INFINITY))
        }
        (ScalarOp::Min, Expr::Const(DType::F32, bits)) => {
            Some(MenuOp::Clamp(f32::NEG_INFINITY, f32::from_bits(*bits as u32)))
        }
        _ => None,
    }
}

pub(super) fn is_plain(load: &Load) -> bool {
    load.bounds.is_empty() && load.gathered.is_empty()
}

/// Whether the load reads element `column` of a dense vector.
pub(super) fn is_column(kernel: &Kernel, load: &Load) -> bool {
    let Some(column) = kernel.outer.len().checked_sub(1) else { return false };
    let elements: Dim = kernel.params[load.param as usize].shape.iter().cloned().product();
    is_plain(load)
        && address(kernel, load.param, &load.indices) == Index::axis(column)
        && elements == kernel.outer[column].extent
}

/// Whether the load reads a tensor that is laid out as the stored result is, from its own start.
pub(super) fn is_whole(kernel: &Kernel, stage: &Stage, load: &Load) -> bool {
    let at = address(kernel, load.param, &load.indices);
    let stored = stage.stores.last().map(|store| address(kernel, store.param, &store.indices));
    is_plain(load) && at.constant.is(0) && stored.is_some_and(|stored| stored.terms == at.terms)
}

/// The linear index of an element of a parameter.
pub(super) fn address(kernel: &Kernel, param: u32, indices: &[Index]) -> Index {
    linear(indices, &dense_strides(&kernel.params[param as usize].shape), &|_| false)
}

/// Whether `indices` walk a parameter of as many elements as the outer space has points in the order of the points.
pub(super) fn is_identity(kernel: &Kernel, param: u32, indices: &[Index]) -> bool {
    let extents: Vec<Dim> = kernel.outer.iter().map(|axis| axis.extent.clone()).collect();
    let elements: Dim = kernel.params[param as usize].shape.iter().cloned().product();
    let axes: Vec<Index> = (0..extents.len()).map(Index::axis).collect();
    let is_single = |axis: usize| extents[axis].is(1);
    elements == extents.iter().cloned().product()
        && address(kernel, param, indices) == linear(&axes, &dense_strides(&extents), &is_single)
}
