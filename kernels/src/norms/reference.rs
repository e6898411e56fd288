//! Normalizations written plainly.

use crate::abi::{Call, KernelError, Operand};
use crate::pack::PANEL;

/// Rows of a dense tensor: pointer, number of rows, length of a row.
unsafe fn rows<'a>(x: &Operand, y: &Operand) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
    let columns = x.shape.last().map_or(1, |&n| n as usize);
    let n_rows = x.len().checked_div(columns).unwrap_or(0);
    let (x, y) = (x.data.cast::<f32>(), y.data.cast::<f32>());
    (0..n_rows).map(move |row| {
        // SAFETY: both tensors are dense with `n_rows` rows.
        unsafe {
            (
                std::slice::from_raw_parts(x.add(row * columns), columns),
                std::slice::from_raw_parts_mut(y.add(row * columns), columns),
            )
        }
    })
}

fn lane_sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0f32; PANEL];
    values.enumerate().for_each(|(i, v)| lanes[i % PANEL] += v);
    for half in [8, 4, 2, 1] {
        (0..half).for_each(|i| lanes[i] += lanes[i + half]);
    }
    lanes[0]
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn softmax(call: &Call) -> Result<(), KernelError> {
    // SAFETY: the caller gives dense operands of the same shape.
    for (x, y) in unsafe { rows(&call.operands[0], &call.operands[1]) } {
        let max = x.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a || b.is_nan() { b } else { a });
        x.iter().zip(&mut *y).for_each(|(x, y)| *y = libm::expf(x - max));
        let sum = lane_sum(y.iter().copied());
        y.iter_mut().for_each(|y| *y /= sum);
    }
    Ok(())
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn layer_norm(call: &Call) -> Result<(), KernelError> {
    let [x, scale, bias, y] = call.operands else { return Err(KernelError("expected 4 operands".into())) };
    let epsilon = f32::from_bits(call.attrs[0] as u32);
    let (scale, bias_data) = (scale.data.cast::<f32>(), bias.data.cast::<f32>());
    // SAFETY: the caller gives dense operands of the same shape, and a scale and bias of one row.
    unsafe {
        for (x, y) in rows(x, y) {
            let n = x.len() as f32;
            let mean = lane_sum(x.iter().copied()) / n;
            let variance = lane_sum(x.iter().map(|x| (x - mean) * (x - mean))) / n;
            let factor = 1.0 / (variance + epsilon).sqrt();
            for (i, (x, y)) in x.iter().zip(y).enumerate() {
                let shift = if bias.is_present() { *bias_data.add(i) } else { 0.0 };
                *y = (x - mean) * factor * *scale.add(i) + shift;
            }
        }
    }
    Ok(())
}

/// # Safety
/// Operands are as the kernel's description says.
pub(crate) unsafe fn rms_norm(call: &Call) -> Result<(), KernelError> {
    let [x, scale, y] = call.operands else { return Err(KernelError("expected 3 operands".into())) };
    let epsilon = f32::from_bits(call.attrs[0] as u32);
    let scale = scale.data.cast::<f32>();
    // SAFETY: the caller gives dense operands of the same shape, and a scale of one row.
    unsafe {
        for (x, y) in rows(x, y) {
            let factor = 1.0 / (lane_sum(x.iter().map(|x| x * x)) / x.len() as f32 + epsilon).sqrt();
            for (i, (x, y)) in x.iter().zip(y).enumerate() {
                *y = x * factor * *scale.add(i);
            }
        }
    }
    Ok(())
}
