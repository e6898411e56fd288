//! Gated products: the bits of a product whose gates are applied afterwards.

use super::harness::{HALVES, Random, Tensor, Threads, assert_same_bits, run, run_stored};
use super::matmul::{packed, scaled};
use crate::abi::{EpilogueOp, Parallel, Serial, Strip};
use crate::isa::Isa;
use crate::pack::{PANEL, Scaled, Width};
use crate::table::{find, table};
use ic_types::DType;

const FUNCTIONS: [Strip; 5] = [Strip::Sigmoid, Strip::Silu, Strip::Gelu, Strip::GeluTanh, Strip::Relu];

/// The product with all its columns, then the gates.
fn oracle(strip: Strip, isa: Isa, product: &[f32], columns: usize) -> Vec<f32> {
    let mut result = Vec::new();
    for pair in product.chunks(columns.max(1)).flat_map(|row| row.chunks(2 * PANEL)) {
        let mut gates = pair[..PANEL].to_vec();
        // SAFETY: a strip works in place.
        unsafe { table(isa).strips[strip as usize](gates.as_mut_ptr(), gates.as_ptr(), PANEL) };
        result.extend(gates.iter().zip(&pair[PANEL..]).map(|(gate, x)| gate * x));
    }
    result
}

#[test]
fn gates_of_odd_shapes() {
    let mut random = Random::new(31);
    for (m, f, k) in [(0, 16, 4), (1, 16, 1), (1, 1040, 33), (5, 48, 20), (13, 32, 700), (130, 64, 9), (3, 0, 5)] {
        for (i, strip) in FUNCTIONS.into_iter().enumerate() {
            let columns = 2 * f;
            let b = packed(k, columns, &mut random);
            let bias = Tensor::random(&[columns], &mut random);
            let epilogue = [EpilogueOp::AddColumn(bias.data.as_ptr())];
            let epilogue = if i % 2 == 0 { &epilogue[..] } else { &[] };
            let a = Tensor::random(&[2, m, k], &mut random);
            let mut product = [a.clone(), b.clone(), Tensor::unset(&[2, m, columns])];
            for isa in Isa::supported() {
                let whole = find("f32_matmul_packed", 1, isa).expect("the kernel exists");
                run(whole, &mut product, &[], epilogue, None, &Serial).expect("the product runs");
                let expected = oracle(strip, isa, &product[2].data, columns);
                for pool in [&Serial as &dyn Parallel, &Threads(2), &Threads(3)] {
                    let bias = if epilogue.is_empty() { Tensor::absent() } else { bias.clone() };
                    let mut operands = [a.clone(), b.clone(), bias, Tensor::unset(&[2, m, f])];
                    let kernel = find("f32_gated_matmul", 1, isa).expect("the kernel exists");
                    run(kernel, &mut operands, &[strip as i64], &[], None, pool).expect("the kernel runs");
                    assert_same_bits(&operands[3].data, &expected, &format!("{m} {f} {k} {}", isa.name()));
                }
            }
        }
    }
}

#[test]
fn gates_of_stored_weights() {
    let mut random = Random::new(32);
    for (m, f, k) in [(1, 16, 7), (3, 528, 129), (13, 32, 700), (40, 48, 33)] {
        let (columns, strip) = (2 * f, Strip::Silu);
        let shape = |width| Scaled { k, n: columns, group: 32, width };
        let mut stored: Vec<(Tensor, DType, Vec<u8>, u32)> = Vec::new();
        for halves in HALVES {
            let (b, bits) = halves.round(packed(k, columns, &mut random));
            stored.push((b, halves.dtype, bits.iter().flat_map(|bits| bits.to_le_bytes()).collect(), 2));
        }
        for (dtype, width) in [(DType::I8, Width::Eight), (DType::I4, Width::Four)] {
            let (b, bytes) = scaled(shape(width), &mut random);
            stored.push((b, dtype, bytes, 3));
        }
        for (b, dtype, bytes, layout) in stored {
            // As aligned as weights in an artifact are.
            let mut aligned = vec![0u128; bytes.len().div_ceil(16)];
            aligned.iter_mut().zip(bytes.chunks(16)).for_each(|(word, chunk)| {
                let mut bytes = [0; 16];
                bytes[..chunk.len()].copy_from_slice(chunk);
                *word = u128::from_ne_bytes(bytes);
            });
            let a = Tensor::random(&[m, k], &mut random);
            for isa in Isa::supported() {
                let mut product = [a.clone(), b.clone(), Tensor::unset(&[m, columns])];
                let whole = find("f32_matmul_packed", 1, isa).expect("the kernel exists");
                run(whole, &mut product, &[], &[], None, &Serial).expect("the product runs");
                let expected = oracle(strip, isa, &product[2].data, columns);
                for pool in [&Serial as &dyn Parallel, &Threads(2)] {
                    let operands = [a.clone(), b.clone(), Tensor::absent(), Tensor::unset(&[m, f])];
                    let kernel = find("f32_gated_matmul", layout, isa).expect("the kernel exists");
                    let attrs = [strip as i64, 32];
                    let attrs = if layout == 3 { &attrs[..] } else { &attrs[..1] };
                    let found = run_stored(kernel, &operands, (dtype, aligned.as_ptr().cast()), attrs, pool);
                    assert_same_bits(&found, &expected, &format!("{m} {f} {k} {dtype} {}", isa.name()));
                }
            }
        }
    }
}
