//! Products with chosen matrices and mixtures of experts: the same bits on every instruction set and number of threads, and
//! close to f64.

use super::harness::{HALVES, Random, Tensor, Threads, assert_same_bits};
use crate::abi::{Call, KernelError, Operand, Parallel, Serial, Strip};
use crate::host::Host;
use crate::isa::Isa;
use crate::pack::{matmul_b_len, pack_matmul_b};
use crate::table::find;
use ic_types::DType;

/// `count` matrices `[k, n]`: row-major, and packed in an element type.
struct Matrices {
    shape: [i64; 3],
    values: Vec<f32>,
    packed: Vec<u8>,
    dtype: DType,
}

impl Matrices {
    fn random([count, k, n]: [usize; 3], dtype: DType, random: &mut Random) -> Matrices {
        let halves = HALVES.iter().find(|halves| halves.dtype == dtype);
        let mut tensor = Tensor::random(&[count, k, n], random);
        if let Some(halves) = halves {
            tensor = halves.round(tensor).0;
        }
        let mut packed = Vec::new();
        for matrix in 0..count {
            let mut panels = vec![0.0; matmul_b_len(k, n)];
            let from = &tensor.data[matrix * k * n..][..k * n];
            pack_matmul_b(k, n, |i, row| row.copy_from_slice(&from[i * n..][..n]), &mut panels);
            match halves {
                Some(halves) => {
                    let (_, bits) = halves.round(Tensor::dense(&[panels.len()], panels));
                    packed.extend(bits.iter().flat_map(|bits| bits.to_le_bytes()));
                }
                None => packed.extend(panels.iter().flat_map(|x| x.to_le_bytes())),
            }
        }
        Matrices { shape: [count, k, n].map(|extent| extent as i64), values: tensor.data, packed, dtype }
    }

    fn operand(&self) -> Operand<'_> {
        Operand { data: self.packed.as_ptr().cast_mut(), dtype: self.dtype, shape: &self.shape, strides: &[0; 3] }
    }

    fn at(&self, matrix: usize, i: usize, j: usize) -> f64 {
        let [_, k, n] = self.shape.map(|extent| extent as usize);
        self.values[(matrix * k + i) * n + j].into()
    }
}

fn run(name: &str, operands: &[Operand], attrs: &[i64], isa: Isa, pool: &dyn Parallel) -> Result<(), KernelError> {
    let layout = if operands.iter().any(|o| matches!(o.dtype, DType::F16 | DType::BF16)) { 2 } else { 1 };
    let kernel = find(name, layout, isa).expect("exists");
    let len = (kernel.scratch)(operands, attrs, pool.threads());
    let mut scratch = vec![0xffu8; len + 128];
    let start = scratch.as_ptr().align_offset(64);
    let data = scratch[start..].as_mut_ptr();
    let call =
        Call { operands, attrs, epilogue: &[], callback: None, scratch: data, pool, pieces: false, host: Host::none() };
    // SAFETY: the operands are valid and the scratch has the size that the kernel asked for.
    let result = unsafe { (kernel.run)(&call) };
    assert!(scratch[start + len..].iter().all(|&byte| byte == 0xff), "{name} wrote past its scratch");
    result
}

fn index_operand<'a>(index: &'a [i64], shape: &'a [i64]) -> Operand<'a> {
    Operand { data: index.as_ptr().cast_mut().cast(), dtype: DType::I64, shape, strides: &[1, 1] }
}

/// Indices of `count` matrices, from the front or the end. Some matrices are chosen often, some never.
fn indices(rows: usize, count: usize, random: &mut Random) -> Vec<i64> {
    (0..rows).map(|_| (random.bits() as usize % (2 * count)) as i64 - count as i64).collect()
}

fn wrapped(index: i64, count: usize) -> usize {
    index.rem_euclid(count as i64) as usize
}

#[test]
fn rows_meet_the_matrices_that_they_choose() {
    let mut random = Random::new(7);
    for (rows, [count, k, n]) in [(0, [2, 3, 4]), (1, [1, 1, 1]), (5, [3, 7, 15]), (40, [4, 33, 17]), (9, [20, 16, 48])]
    {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let w = Matrices::random([count, k, n], dtype, &mut random);
            let index = indices(rows, count, &mut random);
            let index_shape = [rows as i64];
            for swapped in [false, true] {
                let shape = if swapped { [k, rows] } else { [rows, k] };
                let mut x = Tensor::random(&shape, &mut random);
                if swapped {
                    x = x.swap(0, 1);
                }
                let result = |isa: Isa, pool: &dyn Parallel| {
                    let (mut x, mut y) = (x.clone(), Tensor::unset(&[rows, n]));
                    let operands = [x.operand(), w.operand(), index_operand(&index, &index_shape), y.operand()];
                    run("f32_expert_matmul", &operands, &[], isa, pool).unwrap();
                    y.data
                };
                let expected = result(Isa::Portable, &Serial);
                for isa in Isa::supported() {
                    for threads in [1, 2, 3] {
                        assert_same_bits(&result(isa, &Threads(threads)), &expected, &isa.name());
                    }
                }
                for (at, &y) in expected.iter().enumerate() {
                    let (row, j) = (at / n, at % n);
                    let line = (0..k).map(|i| x.data[row * x.strides[0] as usize + i * x.strides[1] as usize]);
                    let matrix = wrapped(index[row], count);
                    let exact: f64 = line.enumerate().map(|(i, x)| f64::from(x) * w.at(matrix, i, j)).sum();
                    assert!((f64::from(y) - exact).abs() < 1e-5, "{y} is not {exact}");
                }
            }
        }
    }
}

#[test]
fn layers_weigh_their_choices() {
    let mut random = Random::new(3);
    let cases = [([0, 2, 3], [2, 4, 5]), ([1, 1, 1], [1, 1, 1]), ([6, 2, 9], [5, 17, 16]), ([33, 4, 20], [16, 8, 31])];
    for ([tokens, choices, k], [count, f, n]) in cases {
        for (gated, dtype) in [(false, DType::F32), (true, DType::F32), (true, DType::F16)] {
            let wide = if gated { 2 * f } else { f };
            let w_in = Matrices::random([count, k, wide], dtype, &mut random);
            let w_out = Matrices::random([count, f, n], dtype, &mut random);
            let index = indices(tokens * choices, count, &mut random);
            let shape = [tokens as i64, choices as i64];
            let weight = Tensor::random(&[tokens, choices], &mut random);
            // Every choice of a token sees the same row.
            let mut x = Tensor::random(&[tokens, k], &mut random);
            x.shape.insert(1, choices as i64);
            x.strides.insert(1, 0);
            let attrs = [Strip::Silu as i64, gated.into()];
            let result = |isa: Isa, pool: &dyn Parallel| {
                let (mut x, mut weight, mut y) = (x.clone(), weight.clone(), Tensor::unset(&[tokens, n]));
                let operands = [
                    x.operand(),
                    index_operand(&index, &shape),
                    weight.operand(),
                    w_in.operand(),
                    w_out.operand(),
                    y.operand(),
                ];
                run("f32_experts", &operands, &attrs, isa, pool).unwrap();
                y.data
            };
            let expected = result(Isa::Portable, &Serial);
            for isa in Isa::supported() {
                for threads in [1, 2, 3] {
                    assert_same_bits(&result(isa, &Threads(threads)), &expected, &isa.name());
                }
            }
            for (at, &y) in expected.iter().enumerate() {
                let (token, j) = (at / n, at % n);
                let exact: f64 = (0..choices)
                    .map(|choice| {
                        let row = token * choices + choice;
                        let expert = wrapped(index[row], count);
                        let inner = |column: usize| -> f64 {
                            (0..k).map(|i| f64::from(x.data[token * k + i]) * w_in.at(expert, i, column)).sum()
                        };
                        let hidden = |i: usize| {
                            let value = inner(i);
                            let active = value / (1.0 + (-value).exp());
                            if gated { active * inner(f + i) } else { active }
                        };
                        let product: f64 = (0..f).map(|i| hidden(i) * w_out.at(expert, i, j)).sum();
                        f64::from(weight.data[row]) * product
                    })
                    .sum();
                assert!((f64::from(y) - exact).abs() < 1e-4, "{y} is not {exact}");
            }
        }
    }
}

#[test]
fn experts_that_are_not_there_are_refused() {
    let mut random = Random::new(1);
    let w = Matrices::random([2, 1, 1], DType::F32, &mut random);
    for chosen in [2, -3, i64::MIN, i64::MAX] {
        let (mut x, mut y) = (Tensor::random(&[1, 1], &mut random), Tensor::unset(&[1, 1]));
        let index = [chosen];
        let operands = [x.operand(), w.operand(), index_operand(&index, &[1]), y.operand()];
        let error = run("f32_expert_matmul", &operands, &[], Isa::Portable, &Serial).unwrap_err();
        assert_eq!(error.0, format!("expert {chosen} is chosen, there are 2"));
    }
}
