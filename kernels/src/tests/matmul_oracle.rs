//! Matrix products written plainly: the oracle of the tests.

use super::epilogue_oracle as epilogue;
use crate::abi::{Call, KernelError, Operand};
use crate::pack::PANEL;

/// Offset in `operand` of the element that `index` names in a tensor of the same rank or higher (right-aligned; an
/// axis of extent 1 is broadcast).
fn offset(operand: &Operand, index: &[usize]) -> isize {
    let skip = index.len() - operand.shape.len();
    let axes = operand.shape.iter().zip(operand.strides).zip(&index[skip..]);
    axes.map(|((&extent, &stride), &i)| if extent == 1 { 0 } else { i as isize * stride as isize }).sum()
}

/// Calls `body` with every index of `shape`.
fn for_each_index(shape: &[i64], mut body: impl FnMut(&[usize])) {
    let len: i64 = shape.iter().product();
    let mut index = vec![0; shape.len()];
    for mut flat in 0..len as usize {
        for (axis, &extent) in shape.iter().enumerate().rev() {
            index[axis] = flat % extent as usize;
            flat /= extent as usize;
        }
        body(&index);
    }
}

unsafe fn contract(call: &Call, k: usize, b_at: impl Fn(&[usize], usize) -> *const f32) {
    let [a, _, y] = call.operands else { return };
    let rank = y.shape.len();
    for_each_index(y.shape, |index| {
        let mut a_index = index.to_vec();
        let column = index[rank - 1];
        let mut sum = 0.0f32;
        for i in 0..k {
            a_index[rank - 1] = i;
            // SAFETY: the index is in bounds of the operands.
            sum = unsafe { (*a.data.cast::<f32>().offset(offset(a, &a_index))).mul_add(*b_at(index, i), sum) };
        }
        let at = offset(y, index);
        // SAFETY: as above.
        unsafe { *y.data.cast::<f32>().offset(at) = epilogue::eval(call.epilogue, sum, column, at as usize) };
    });
    let columns = y.shape[rank - 1] as usize;
    // SAFETY: the caller vouches for the callback.
    unsafe { epilogue::finish(call, y.len() / columns.max(1), columns) };
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn matmul(call: &Call) -> Result<(), KernelError> {
    let [a, b, y] = call.operands else { return Err(KernelError("expected 3 operands".into())) };
    let (k, rank) = (a.shape[a.shape.len() - 1] as usize, y.shape.len());
    let b_at = |index: &[usize], i: usize| {
        let mut index = index.to_vec();
        index[rank - 2] = i;
        // SAFETY: the index is in bounds of `b`.
        unsafe { b.data.cast::<f32>().cast_const().offset(offset(b, &index)) }
    };
    // SAFETY: the caller's operands are consistent.
    unsafe { contract(call, k, b_at) };
    Ok(())
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn matmul_packed(call: &Call) -> Result<(), KernelError> {
    let [a, b, y] = call.operands else { return Err(KernelError("expected 3 operands".into())) };
    let (k, rank) = (a.shape[a.shape.len() - 1] as usize, y.shape.len());
    let b_at = |index: &[usize], i: usize| {
        let column = index[rank - 1];
        // SAFETY: the packed matrix has a panel for every column.
        unsafe { b.data.cast::<f32>().cast_const().add((column / PANEL * k + i) * PANEL + column % PANEL) }
    };
    // SAFETY: the caller's operands are consistent.
    unsafe { contract(call, k, b_at) };
    Ok(())
}
