//! `reverse_sequence`: the first steps of each sequence of a batch, backwards.

use super::args::{Args, error, kernels};
use super::element::by_width;
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `ReverseSequence`; `sequence_lens` i64. The two axes are 0 and 1.
    REVERSE_SEQUENCE = "reverse_sequence" ["x", "sequence_lens"] -> ["y"] {"batch_axis", "time_axis"}, reverse_sequence;
}

fn reverse_sequence(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let (batch_axis, time_axis) = (args.axis(0, shape.len())?, args.axis(1, shape.len())?);
    if batch_axis + time_axis != 1 {
        return Err(error(format!("expected axes 0 and 1, found {batch_axis} and {time_axis}")));
    }
    let lens = args.input::<i64>(1)?;
    let steps = shape[time_axis];
    if lens.len() != shape[batch_axis] {
        return Err(error(format!("expected {} sequence lengths, found {}", shape[batch_axis], lens.len())));
    }
    if let Some(len) = lens.iter().find(|&&len| len < 0 || len > steps as i64) {
        return Err(error(format!("sequence length {len} is out of range for {steps} steps")));
    }
    let inner: usize = shape[2..].iter().product();
    by_width!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if x.len() != y.len() {
            return Err(error(format!("expected {} output elements, found {}", x.len(), y.len())));
        }
        rows(args.pool(), y, inner, inner, |first, part| {
            for (r, row) in part.chunks_exact_mut(inner).enumerate() {
                let at = [(first + r) / shape[1], (first + r) % shape[1]];
                let (batch, time) = (at[batch_axis], at[time_axis]);
                let len = lens[batch] as usize;
                let from = if time < len { len - 1 - time } else { time };
                let source = if time_axis == 0 { from * shape[1] + batch } else { batch * shape[1] + from };
                row.copy_from_slice(&x[source * inner..][..inner]);
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run, run_f32};
    use ic_types::DType;

    #[test]
    fn reverses_along_either_axis() {
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let found =
            run_f32(&REVERSE_SEQUENCE, &[Buffer::f32(&[3, 4], &x), Buffer::i64(&[3], &[4, 0, 2])], &[0, 1], &[3, 4]);
        assert_eq!(found, [3.0, 2.0, 1.0, 0.0, 4.0, 5.0, 6.0, 7.0, 9.0, 8.0, 10.0, 11.0]);
        let found =
            run_f32(&REVERSE_SEQUENCE, &[Buffer::f32(&[3, 2, 2], &x), Buffer::i64(&[2], &[3, 2])], &[1, 0], &[3, 2, 2]);
        assert_eq!(found, [8.0, 9.0, 6.0, 7.0, 4.0, 5.0, 2.0, 3.0, 0.0, 1.0, 10.0, 11.0]);
        let long = [Buffer::f32(&[1, 2], &[0.0; 2]), Buffer::i64(&[1], &[3])];
        assert!(run(&REVERSE_SEQUENCE, &long, &[0, 1], vec![Buffer::out::<f32>(DType::F32, &[1, 2])]).is_err());
    }
}
