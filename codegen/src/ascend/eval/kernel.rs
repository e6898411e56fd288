//! Whole kernels on the elements of their parameters.

use super::{eval_contraction, eval_function};
use crate::ascend::AscendKernel;
use ic_ir::OpError;
use ic_types::Tensor;

/// Runs a kernel on the elements of its parameters, each of rank 1.
///
/// # Errors
/// If an operation does not take its operands.
pub fn eval_kernel(kernel: &AscendKernel, params: &mut [Tensor]) -> Result<(), OpError> {
    let vector = match kernel {
        AscendKernel::Cube(cube) => return eval_contraction(cube, params),
        AscendKernel::Vector(vector) => vector,
    };
    let arguments: Vec<Tensor> = vector.arguments.iter().map(|&param| params[param as usize].clone()).collect();
    let results = eval_function(&vector.function, &arguments)?;
    for (&param, result) in vector.results.iter().zip(results) {
        let len = result.len();
        params[param as usize] = result.reshaped(vec![len]);
    }
    Ok(())
}
