//! Matrix products: shapes around tile edges, views, broadcasts, epilogues, threads.

use super::harness::{HALVES, Random, Tensor, Threads, assert_same_bits, run, run_halves, run_stored};
use super::matmul_oracle;
use crate::abi::{Callback, EpilogueOp, Kernel, Parallel, Serial, Strip, Table, Tile};
use crate::isa::Isa;
use crate::pack::{Scaled, Width, matmul_b_len, pack_matmul_b, pack_scaled};
use crate::table::{find, table};
use ic_types::DType;

/// The product by the oracle: `operands` are those of the call.
fn oracle(name: &str, operands: &[Tensor], epilogue: &[EpilogueOp]) -> Vec<f32> {
    let run_oracle = match name {
        "f32_matmul" => matmul_oracle::matmul,
        _ => matmul_oracle::matmul_packed,
    };
    let kernel = Kernel {
        scratch: |_, _, _| 0,
        run: run_oracle,
        ..*find(name, u32::from(name != "f32_matmul"), Isa::Portable).expect("exists")
    };
    let mut operands = operands.to_vec();
    run(&kernel, &mut operands, &[], epilogue, None, &Serial).expect("the oracle runs");
    operands.pop().expect("3 operands").data
}

/// Checks one call on every instruction set, alone and on threads.
fn check(name: &str, operands: &[Tensor], epilogue: &[EpilogueOp]) {
    let expected = oracle(name, operands, epilogue);
    let layout = u32::from(name != "f32_matmul");
    for isa in Isa::supported() {
        for pool in [&Serial as &dyn Parallel, &Threads(2), &Threads(3)] {
            let kernel = find(name, layout, isa).expect("the kernel exists");
            let mut operands = operands.to_vec();
            run(kernel, &mut operands, &[], epilogue, None, pool).expect("the kernel runs");
            let shapes: Vec<_> = operands.iter().map(|t| t.shape.clone()).collect();
            let what = format!("{name} {shapes:?} {} {} threads", isa.name(), pool.threads());
            assert_same_bits(&operands[2].data, &expected, &what);
        }
    }
}

pub(super) fn packed(k: usize, n: usize, random: &mut Random) -> Tensor {
    let b = random.values(k * n);
    let mut data = vec![0.0; matmul_b_len(k, n)];
    pack_matmul_b(k, n, |i, row| row.copy_from_slice(&b[i * n..][..n]), &mut data);
    let mut tensor = Tensor::dense(&[k, n], vec![]);
    tensor.data = data;
    tensor
}

#[test]
fn packed_shapes_around_tile_edges() {
    let mut random = Random::new(1);
    for m in [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25, 37] {
        for n in [0, 1, 15, 16, 17, 31, 33, 64, 129] {
            for k in [0, 1, 2, 19] {
                let operands =
                    [Tensor::random(&[m, k], &mut random), packed(k, n, &mut random), Tensor::unset(&[m, n])];
                check("f32_matmul_packed", &operands, &[]);
            }
        }
    }
}

#[test]
fn long_k_is_blocked() {
    let mut random = Random::new(2);
    let (m, n, k) = (7, 33, 20_000);
    let operands = [Tensor::random(&[m, k], &mut random), packed(k, n, &mut random), Tensor::unset(&[m, n])];
    check("f32_matmul_packed", &operands, &[EpilogueOp::Strip(Strip::Relu)]);
}

#[test]
fn packed_views_and_batches() {
    let mut random = Random::new(3);
    for (m, n, k) in [(5, 20, 9), (13, 33, 17)] {
        // A transposed, B shared by all batches.
        let a = Tensor::random(&[2, 3, k, m], &mut random).swap(2, 3);
        check("f32_matmul_packed", &[a, packed(k, n, &mut random), Tensor::unset(&[2, 3, m, n])], &[]);
        // Heads moved behind the sequence, in A and in the result.
        let a = Tensor::random(&[2, m, 3, k], &mut random).swap(1, 2);
        let y = Tensor::unset(&[2, m, 3, n]).swap(1, 2);
        check("f32_matmul_packed", &[a, packed(k, n, &mut random), y], &[]);
    }
}

#[test]
fn packed_halves_give_the_bits_of_what_they_widen_to() {
    let mut random = Random::new(9);
    for (m, n, k) in [(0, 5, 3), (1, 1, 1), (1, 70, 33), (5, 16, 8), (13, 33, 17), (26, 129, 0), (3, 40, 20_000)] {
        for halves in HALVES {
            let (a, b) = (Tensor::random(&[m, k], &mut random), packed(k, n, &mut random));
            let (b, bits) = halves.round(b);
            let operands = [a, b, Tensor::unset(&[m, n])];
            let expected = oracle("f32_matmul_packed", &operands, &[]);
            for isa in Isa::supported() {
                for pool in [&Serial as &dyn Parallel, &Threads(3)] {
                    let kernel = find("f32_matmul_packed", 2, isa).expect("the kernel exists");
                    let found = run_halves(kernel, &operands, (halves.dtype, &bits), &[], pool);
                    let what = format!("{m} {n} {k} {} {} {} threads", halves.dtype, isa.name(), pool.threads());
                    assert_same_bits(&found, &expected, &what);
                }
            }
        }
    }
}

/// Random integers of a shape with their scales, packed, and the floats that they stand for.
pub(super) fn scaled(shape: Scaled, random: &mut Random) -> (Tensor, Vec<u8>) {
    let Scaled { k, n, group, width } = shape;
    let range = if width == Width::Four { 16 } else { 256 };
    let integers: Vec<i8> = (0..k * n).map(|_| ((random.bits() % range) as i32 - range as i32 / 2) as i8).collect();
    let scales = random.values(k.div_ceil(group) * n);
    let mut bytes = vec![0x55; shape.packed_bytes()];
    pack_scaled(shape, &integers, &scales, &mut bytes);
    let element = |i: usize, j: usize| f32::from(integers[i * n + j]) * scales[i / group * n + j];
    let mut data = vec![0.0; matmul_b_len(k, n)];
    pack_matmul_b(k, n, |i, row| row.iter_mut().enumerate().for_each(|(j, x)| *x = element(i, j)), &mut data);
    let mut tensor = Tensor::dense(&[k, n], vec![]);
    tensor.data = data;
    (tensor, bytes)
}

#[test]
fn packed_integers_give_the_bits_of_what_they_stand_for() {
    let mut random = Random::new(10);
    for m in [0, 1, 2, 3, 4, 5, 13, 26] {
        for (n, k) in [(1, 1), (15, 2), (17, 129), (64, 127), (70, 33), (160, 5), (129, 0), (33, 256), (20, 5_001)] {
            for (dtype, width) in [(DType::I8, Width::Eight), (DType::I4, Width::Four)] {
                for group in [128, k.max(1)] {
                    let (b, bytes) = scaled(Scaled { k, n, group, width }, &mut random);
                    let operands = [Tensor::random(&[m, k], &mut random), b, Tensor::unset(&[m, n])];
                    let expected = oracle("f32_matmul_packed", &operands, &[]);
                    for isa in Isa::supported() {
                        for pool in [&Serial as &dyn Parallel, &Threads(3)] {
                            let kernel = find("f32_matmul_packed", 3, isa).expect("the kernel exists");
                            let stored = (dtype, bytes.as_ptr());
                            let found = run_stored(kernel, &operands, stored, &[group as i64], pool);
                            let what = format!("{m} {n} {k} {dtype} {group} {} {}", isa.name(), pool.threads());
                            assert_same_bits(&found, &expected, &what);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn dynamic_shapes_around_tile_edges() {
    let mut random = Random::new(4);
    for m in [0, 1, 3, 6, 13, 26] {
        for n in [0, 1, 15, 16, 17, 33, 70] {
            for k in [0, 1, 15, 16, 17, 40] {
                let a = Tensor::random(&[3, m, k], &mut random);
                let y = Tensor::unset(&[3, m, n]);
                let b = Tensor::random(&[3, k, n], &mut random);
                check("f32_matmul", &[a.clone(), b, y.clone()], &[]);
                let b = Tensor::random(&[3, n, k], &mut random).swap(1, 2);
                check("f32_matmul", &[a, b, y], &[]);
            }
        }
    }
}

#[test]
fn dynamic_batches_broadcast() {
    let mut random = Random::new(5);
    let (m, n, k) = (14, 18, 5);
    for (a, b) in [
        (vec![m, k], vec![2, 3, k, n]),
        (vec![2, 3, m, k], vec![k, n]),
        (vec![2, 1, m, k], vec![1, 3, k, n]),
        (vec![1, 3, m, k], vec![2, 1, k, n]),
    ] {
        let operands = [Tensor::random(&a, &mut random), Tensor::random(&b, &mut random), Tensor::unset(&[2, 3, m, n])];
        check("f32_matmul", &operands, &[]);
    }
}

#[test]
fn epilogues_apply_in_order() {
    let mut random = Random::new(6);
    for (m, n, k) in [(1, 5, 3), (13, 33, 7), (30, 160, 64)] {
        let (scale, bias) = (random.values(n), random.values(n));
        let (residual, gate) = (random.values(2 * m * n), random.values(2 * m * n));
        let ops = [
            EpilogueOp::MulColumn(scale.as_ptr()),
            EpilogueOp::AddColumn(bias.as_ptr()),
            EpilogueOp::AddTensor(residual.as_ptr()),
            EpilogueOp::Clamp(-1.5, 2.0),
            EpilogueOp::Strip(Strip::HardSwish),
            EpilogueOp::Strip(Strip::Gelu),
            EpilogueOp::MulTensor(gate.as_ptr()),
            EpilogueOp::Strip(Strip::Relu),
        ];
        let operands = [Tensor::random(&[2, m, k], &mut random), packed(k, n, &mut random), Tensor::unset(&[2, m, n])];
        for n_ops in 0..=ops.len() {
            check("f32_matmul_packed", &operands, &ops[..n_ops]);
        }
        let operands = [
            Tensor::random(&[2, m, k], &mut random),
            Tensor::random(&[2, k, n], &mut random),
            Tensor::unset(&[2, m, n]),
        ];
        check("f32_matmul", &operands, &ops);
    }
}

/// Adds 1000 * row + column to each result, and checks its scratch.
unsafe extern "C" fn number(buffers: *const *mut u8, dims: *const i64, _: *const Table, tile: *const Tile) {
    // SAFETY: the test passes one dense buffer and its row length.
    unsafe {
        let (y, columns, tile) = ((*buffers).cast::<f32>(), *dims, &*tile);
        tile.scratch.cast::<[u8; 100]>().write([1; 100]);
        for row in tile.begin[0]..tile.end[0] {
            for column in tile.begin[1]..tile.end[1] {
                *y.offset((row * columns + column) as isize) += (1000 * row + column) as f32;
            }
        }
    }
}

#[test]
fn callback_sees_every_result_once() {
    let mut random = Random::new(7);
    for (batch, m, n, k) in [(1, 30, 70, 300), (6, 9, 40, 20), (2, 1, 600, 64)] {
        let mut operands = [
            Tensor::random(&[batch, m, k], &mut random),
            Tensor::random(&[batch, k, n], &mut random),
            Tensor::unset(&[batch, m, n]),
        ];
        let mut expected = oracle("f32_matmul", &operands, &[]);
        expected.iter_mut().enumerate().for_each(|(i, v)| *v += (1000 * (i / n) + i % n) as f32);
        for isa in Isa::supported() {
            for pool in [&Serial as &dyn Parallel, &Threads(2)] {
                let buffers = [operands[2].data.as_mut_ptr().cast::<u8>()];
                let callback = Callback {
                    function: number,
                    buffers: &buffers,
                    dims: &[n as i64],
                    table: table(isa),
                    scratch_bytes: 100,
                    whole_rows: false,
                };
                let kernel = find("f32_matmul", 0, isa).expect("the kernel exists");
                run(kernel, &mut operands, &[], &[], Some(callback), pool).expect("the kernel runs");
                assert_same_bits(&operands[2].data, &expected, &isa.name());
            }
        }
    }
}

/// Replaces each row by its running sums: right only for rows whose columns are all there, and for each once.
unsafe extern "C" fn accumulate(buffers: *const *mut u8, dims: *const i64, _: *const Table, tile: *const Tile) {
    // SAFETY: the test passes one dense buffer and its row length.
    unsafe {
        let (y, columns, tile) = ((*buffers).cast::<f32>(), *dims, &*tile);
        assert_eq!((tile.begin[1], tile.end[1]), (0, 1));
        tile.scratch.cast::<[u8; 100]>().write([1; 100]);
        for row in tile.begin[0]..tile.end[0] {
            for column in 1..columns {
                let at = y.offset((row * columns + column) as isize);
                *at += *at.sub(1);
            }
        }
    }
}

#[test]
fn callback_for_rows_sees_whole_rows_once() {
    let mut random = Random::new(9);
    for (m, n, k) in [(1, 1, 3), (1, 600, 64), (3, 70, 1500), (61, 33, 40), (300, 17, 9), (0, 8, 8)] {
        for name in ["f32_matmul_packed", "f32_matmul"] {
            let b = if name == "f32_matmul" { Tensor::random(&[k, n], &mut random) } else { packed(k, n, &mut random) };
            let mut operands = [Tensor::random(&[2, m, k], &mut random), b, Tensor::unset(&[2, m, n])];
            let mut expected = oracle(name, &operands, &[]);
            expected.chunks_mut(n).for_each(|row| (1..n).for_each(|i| row[i] += row[i - 1]));
            for isa in Isa::supported() {
                for pool in [&Serial as &dyn Parallel, &Threads(2), &Threads(3)] {
                    let buffers = [operands[2].data.as_mut_ptr().cast::<u8>()];
                    let callback = Callback {
                        function: accumulate,
                        buffers: &buffers,
                        dims: &[n as i64],
                        table: table(isa),
                        scratch_bytes: 100,
                        whole_rows: true,
                    };
                    let kernel = find(name, u32::from(name != "f32_matmul"), isa).expect("the kernel exists");
                    run(kernel, &mut operands, &[], &[], Some(callback), pool).expect("the kernel runs");
                    assert_same_bits(&operands[2].data, &expected, &isa.name());
                }
            }
        }
    }
}

#[test]
fn close_to_f64() {
    let mut random = Random::new(8);
    let (m, n, k) = (9, 21, 257);
    let (a, b) = (Tensor::random(&[m, k], &mut random), Tensor::random(&[k, n], &mut random));
    let mut operands = [a.clone(), b.clone(), Tensor::unset(&[m, n])];
    run(find("f32_matmul", 0, Isa::detect()).expect("exists"), &mut operands, &[], &[], None, &Serial).expect("runs");
    for i in 0..m {
        for j in 0..n {
            let exact: f64 = (0..k).map(|l| f64::from(a.data[i * k + l]) * f64::from(b.data[l * n + j])).sum();
            assert!((f64::from(operands[2].data[i * n + j]) - exact).abs() < 1e-4 * (k as f64).sqrt());
        }
    }
}
