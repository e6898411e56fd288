//! Outer spaces: merged axes, tiles of rows and columns, callbacks in place.

use super::native::{Match, check, check_tiled};
use super::*;
use crate::cpu::plan::Tiling;
use crate::shared::form::{Repeats, Schedule, form_of};

#[test]
fn dense_axes_become_one() {
    let shape = [c(2), Dim::symbol("H"), c(1), c(7)];
    let at = [ax(0), ax(1), ax(2), ax(3)];
    let kernel = elementwise(&shape, &[DType::F32; 2], vec![load(0, &at)]);
    let form = form_of(&kernel, 0, None, Repeats::Short).unwrap();
    assert_eq!(form.outer, [Dim::symbol("H") * c(14)]);
}

#[test]
fn broadcast_axes_stay_apart() {
    let body = vec![load(0, &[ax(0), ax(1), ax(2)]), load(1, &[ax(2)]), apply(ScalarOp::Add, &[0, 1])];
    let shape = [c(2), c(3), c(5)];
    let kernel = Kernel {
        params: vec![
            param(DType::F32, &shape, false),
            param(DType::F32, &[c(5)], false),
            param(DType::F32, &shape, true),
        ],
        outer: axes(&shape),
        stages: vec![pointwise(&[], body.clone(), vec![store(&body, 2, &[ax(0), ax(1), ax(2)])])],
    };
    assert_eq!(form_of(&kernel, 0, None, Repeats::Short).unwrap().outer, [c(6), c(5)]);
}

#[test]
fn five_axes_are_walked() {
    // A permutation of five axes: none of them merge.
    let mut random = Random(40);
    let extents = [2i64, 3, 4, 5, 6];
    let order = [4usize, 2, 0, 3, 1];
    let source: Vec<Dim> = order.iter().map(|&axis| c(extents[axis])).collect();
    let shape = extents.map(c);
    let body = vec![load(0, &order.map(ax))];
    let kernel = Kernel {
        params: vec![param(DType::F32, &source, false), param(DType::F32, &shape, true)],
        outer: axes(&shape),
        stages: vec![pointwise(&[], body.clone(), vec![store(&body, 1, &[ax(0), ax(1), ax(2), ax(3), ax(4)])])],
    };
    let x = random.floats(&order.map(|axis| extents[axis] as usize));
    check(&kernel, &[], &[x, random.floats(&extents.map(|n| n as usize))], Match::Exact);
}

#[test]
fn callbacks_work_in_place_on_rows_and_columns() {
    // y = relu(y + bias[column] + row[row]), where y is read and written.
    let mut random = Random(41);
    for (rows, columns) in [(1usize, 1usize), (4, 1), (1, 19), (6, 33)] {
        let shape = [c(rows as i64), c(columns as i64)];
        let at = [ax(0), ax(1)];
        let body = vec![
            load(0, &at),
            load(1, &[ax(1)]),
            apply(ScalarOp::Add, &[0, 1]),
            load(2, &[ax(0)]),
            apply(ScalarOp::Add, &[2, 3]),
            apply(ScalarOp::Sigmoid, &[4]),
        ];
        let kernel = Kernel {
            params: vec![
                param(DType::F32, &shape, true),
                param(DType::F32, &shape[1..], false),
                param(DType::F32, &shape[..1], false),
            ],
            outer: axes(&shape),
            stages: vec![pointwise(&[], body.clone(), vec![store(&body, 0, &at)])],
        };
        let form = form_of(&kernel, 0, Some(Schedule::Points), Repeats::Short).unwrap();
        assert_eq!(form.outer.last(), Some(&c(columns as i64)), "the last axis stays the columns");
        let buffers = [random.floats(&[rows, columns]), random.floats(&[columns]), random.floats(&[rows])];
        check_tiled(&kernel, Tiling::RowsAndColumns, &[], &buffers, Match::Within(1e-6));
    }
}

#[test]
fn equal_kernels_share_a_function() {
    use crate::cpu::generate::Functions;
    use crate::cpu::plan::Generator;
    use crate::cpu::target::CpuTarget;
    use crate::shared::dims::DimBuilder;
    let kernel = |n: i64| elementwise(&[c(n)], &[DType::F32; 2], vec![load(0, &[ax(0)]), apply(ScalarOp::Abs, &[0])]);
    let mut functions = Functions::new(CpuTarget::ALL).unwrap();
    let mut dims = DimBuilder::default();
    let mut function = |n| functions.generate(&kernel(n), Tiling::Free, &mut dims).unwrap().function;
    assert_eq!([function(64), function(96), function(64)], [0, 1, 0]);
    assert_eq!(functions.into_sections().len(), 3, "v4 shares the code of v3");
}

#[test]
fn what_does_not_change_leaves_the_loop() {
    use crate::cpu::generate::Functions;
    use crate::cpu::plan::Generator;
    use crate::cpu::target::CpuTarget;
    use crate::shared::dims::DimBuilder;
    let mut functions = Functions::new(&[CpuTarget::X86V3]).unwrap();
    functions.keep_listing();
    let kernel = super::reduce::layer_norm(128, 768, true);
    functions.generate(&kernel, Tiling::Free, &mut DimBuilder::default()).unwrap();
    let text = functions.take_listing().remove(0).text;
    // One each for mean, variance and reciprocal, and one where the mean is computed anew.
    assert!(text.matches("divss").count() <= 4, "{text}");
    assert!(text.contains("vaddps"), "v3 code has three operands: {text}");
}
