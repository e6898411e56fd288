//! f32 products from pieces on a matrix unit: nearer to the exact sums than multiply-adds, the same bits on any threads.

use super::harness::{Random, Tensor, Threads, assert_same_bits, run_with};
use super::matmul::packed;
use crate::abi::{EpilogueOp, Parallel, Serial};
use crate::isa::Isa;
use crate::pack::PANEL;
use crate::table::find;

/// The result of `f32_matmul_packed`, from pieces or by multiply-adds; the same on one, two and three threads.
fn product(operands: &[Tensor], epilogue: &[EpilogueOp], pieces: bool) -> Vec<f32> {
    let on = |pool: &dyn Parallel| {
        let mut operands = operands.to_vec();
        let kernel = find("f32_matmul_packed", 1, Isa::Amx).expect("the kernel exists");
        run_with(kernel, &mut operands, &[], (epilogue, None), pool, pieces).expect("the kernel runs");
        operands.pop().expect("3 operands").data
    };
    let alone = on(&Serial);
    for threads in [2, 3] {
        assert_same_bits(&on(&Threads(threads)), &alone, &format!("{threads} threads"));
    }
    alone
}

/// Of each result the exact sum and that of magnitudes.
fn exact([a, b, _]: &[Tensor; 3], (m, k, n): (usize, usize, usize)) -> Vec<(f64, f64)> {
    let at = |row: usize, k_index: usize, column: usize| {
        let b = b.data[column / PANEL * k * PANEL + k_index * PANEL + column % PANEL];
        f64::from(a.data[row * k + k_index]) * f64::from(b)
    };
    let sums = |row, column| (0..k).map(|i| at(row, i, column)).fold((0.0, 0.0), |(s, t), x| (s + x, t + x.abs()));
    (0..m * n).map(|i| sums(i / n, i % n)).collect()
}

/// Whether sums of some hundred products differ by no more than what multiply-adds round.
fn is_near(found: f32, expected: f32) -> bool {
    (found - expected).abs() < 1e-5 * expected.abs().max(8.0)
}

fn operands((m, k, n): (usize, usize, usize), random: &mut Random) -> [Tensor; 3] {
    [Tensor::random(&[m, k], random), packed(k, n, random), Tensor::unset(&[m, n])]
}

#[test]
fn pieces_are_nearer_than_multiply_adds() {
    if !Isa::Amx.is_supported() {
        return;
    }
    let mut random = Random::new(60);
    let (mut total, mut total_of_chains) = (0.0, 0.0);
    let extents = [
        (65, 1100, 512),
        (80, 300, 520),
        (96, 256, 257),
        (127, 157, 400),
        (130, 544, 222),
        (257, 285, 187),
        (256, 1100, 128),
        (300, 130, 250),
        (513, 512, 150),
    ];
    for (m, k, n) in extents {
        let operands = operands((m, k, n), &mut random);
        let (found, chains) = (product(&operands, &[], true), product(&operands, &[], false));
        assert!(found != chains, "{m}x{k}x{n} was not computed from pieces");
        for (index, (sum, magnitudes)) in exact(&operands, (m, k, n)).into_iter().enumerate() {
            let error = |found: f32| (f64::from(found) - sum).abs() / magnitudes;
            assert!(error(found[index]) < 2e-7, "{m}x{k}x{n} at {index}: {} for {sum}", found[index]);
            total += error(found[index]);
            total_of_chains += error(chains[index]);
        }
    }
    assert!(total < total_of_chains, "{total} of pieces, {total_of_chains} of chains");
}

#[test]
fn few_rows_or_columns_stay_with_multiply_adds() {
    if !Isa::Amx.is_supported() {
        return;
    }
    let mut random = Random::new(65);
    for (m, k, n) in [(32, 1024, 1024), (66, 1024, 292), (1000, 1024, 48), (1000, 300, 17), (300, 48, 300)] {
        let operands = operands((m, k, n), &mut random);
        assert_same_bits(&product(&operands, &[], true), &product(&operands, &[], false), &format!("{m}x{k}x{n}"));
    }
}

#[test]
fn epilogues_follow_the_last_block() {
    if !Isa::Amx.is_supported() {
        return;
    }
    let mut random = Random::new(61);
    let (m, k, n) = (150, 600, 150);
    let (bias, residual) = (random.values(n), random.values(m * n));
    let epilogue = [
        EpilogueOp::AddColumn(bias.as_ptr()),
        EpilogueOp::Strip(crate::abi::Strip::Gelu),
        EpilogueOp::AddTensor(residual.as_ptr()),
    ];
    let operands = operands((m, k, n), &mut random);
    for (found, expected) in product(&operands, &epilogue, true).into_iter().zip(product(&operands, &epilogue, false)) {
        assert!(is_near(found, expected), "{found} for {expected}");
    }
}

#[test]
fn what_has_no_pieces_is_summed_by_multiply_adds() {
    if !Isa::Amx.is_supported() {
        return;
    }
    let mut random = Random::new(62);
    let (m, k, n) = (160, 300, 220);
    for (value, others) in [(f32::INFINITY, 1.0), (f32::NAN, 1.0), (3e38, 1.0), (1e-33, 1e-33), (0.0, 0.0)] {
        let [mut a, mut b, y] = operands((m, k, n), &mut random);
        // A row of A, and a column of B, of such numbers.
        let (row, column) = (40, 20);
        a.data[row * k..][..k].iter_mut().for_each(|x| *x *= others);
        a.data[row * k + 5] = value;
        let panel = &mut b.data[column / PANEL * k * PANEL..][..k * PANEL];
        panel.iter_mut().skip(column % PANEL).step_by(PANEL).for_each(|x| *x *= others);
        panel[7 * PANEL + column % PANEL] = value;
        let operands = [a, b, y];
        let (found, expected) = (product(&operands, &[], true), product(&operands, &[], false));
        let of_row = |values: &[f32]| values[row * n..][..n].to_vec();
        assert_same_bits(&of_row(&found), &of_row(&expected), &format!("the row of {value}"));
        // Columns next to 0 have pieces, as they are scaled.
        if others == 1e-33 {
            continue;
        }
        let of_column = |values: &[f32]| values.iter().skip(column).step_by(n).copied().collect::<Vec<_>>();
        assert_same_bits(&of_column(&found), &of_column(&expected), &format!("the column of {value}"));
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let is_theirs = index / n == row || index % n == column;
            assert!(is_theirs || is_near(*found, *expected), "{value}, {index}: {found} for {expected}");
        }
    }
}

#[test]
fn columns_of_any_magnitude_have_pieces() {
    if !Isa::Amx.is_supported() {
        return;
    }
    let mut random = Random::new(64);
    let (m, k, n) = (160, 300, 160);
    let [a, mut b, y] = operands((m, k, n), &mut random);
    // From 2^-120 to 2^114.
    let scale = |column: usize| f32::from_bits((7 + 6 * (column as u32 / 4)) << 23);
    for (index, x) in b.data.iter_mut().enumerate() {
        *x *= scale((index / (k * PANEL) * PANEL + index % PANEL).min(n - 1));
    }
    let operands = [a, b, y];
    let found = product(&operands, &[], true);
    for (index, (sum, magnitudes)) in exact(&operands, (m, k, n)).into_iter().enumerate() {
        let error = (f64::from(found[index]) - sum).abs() / magnitudes;
        assert!(error < 2e-7, "column {}: {} for {sum}", index % n, found[index]);
    }
}

#[test]
fn convolutions_and_gates_take_pieces() {
    if !Isa::Amx.is_supported() {
        return;
    }
    let mut random = Random::new(63);
    let close = |name: &str, layout, operands: &[Tensor], attrs: &[i64]| {
        let kernel = find(name, layout, Isa::Amx).expect("the kernel exists");
        let mut results = [true, false].map(|pieces| {
            let mut operands = operands.to_vec();
            run_with(kernel, &mut operands, attrs, (&[], None), &Threads(2), pieces).expect("the kernel runs");
            operands.pop().expect("operands").data
        });
        let [found, expected] = &mut results;
        for (found, expected) in found.iter().zip(&*expected) {
            assert!(is_near(*found, *expected), "{name}: {found} for {expected}");
        }
        assert!(found != expected, "{name} was not computed from pieces");
    };
    let (m, k, f) = (160, 260, 160);
    let gated =
        [Tensor::random(&[m, k], &mut random), packed(k, 2 * f, &mut random), Tensor::random(&[2 * f], &mut random)];
    close("f32_gated_matmul", 1, &[&gated[..], &[Tensor::unset(&[m, f])]].concat(), &[crate::abi::Strip::Silu as i64]);
    let (a, b) = (Tensor::random(&[3, m, k], &mut random), Tensor::random(&[3, k, f], &mut random));
    close("f32_matmul", 0, &[a, b, Tensor::unset(&[3, m, f])], &[]);
}
