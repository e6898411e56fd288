//! A slow interpreter of kernels of pointwise and reduce stages.

use ic_ir::kernel::{Anchor, Atom, Bound, Expr, Index, Kernel, Load, Stage};
use ic_ir::ops::Cast;
use ic_ir::scalar::{ReduceFn, Scalar, ScalarOp};
use ic_ir::{OpDef, Tensors};
use ic_types::{DType, Data, Dim, Tensor};
use std::collections::BTreeMap;

/// Values of symbols.
pub(super) type Symbols = BTreeMap<String, i64>;

/// Runs `kernel` on `buffers`, one per parameter.
pub(super) fn interpret(kernel: &Kernel, symbols: &Symbols, buffers: &mut [Tensor]) {
    let outer: Vec<i64> = kernel.outer.iter().map(|axis| value(&axis.extent, symbols)).collect();
    for_each_point(&outer, &mut |point| {
        let mut machine = Machine { kernel, symbols, buffers, results: Vec::new() };
        for stage in &kernel.stages {
            let result = machine.stage(stage, point);
            machine.results.push(result);
        }
    });
}

pub(super) fn value(dim: &Dim, symbols: &Symbols) -> i64 {
    dim.eval(&|name| symbols.get(name).copied()).unwrap()
}

fn for_each_point(extents: &[i64], body: &mut dyn FnMut(&[i64])) {
    let total: i64 = extents.iter().product();
    for mut rest in 0..total {
        let mut point = vec![0; extents.len()];
        for axis in (0..extents.len()).rev() {
            point[axis] = rest % extents[axis];
            rest /= extents[axis];
        }
        body(&point);
    }
}

struct Machine<'a> {
    kernel: &'a Kernel,
    symbols: &'a Symbols,
    buffers: &'a mut [Tensor],
    /// Per stage, its values at the points of its inner axes, or the reduced one.
    results: Vec<Vec<Scalar>>,
}

impl Machine<'_> {
    fn stage(&mut self, stage: &Stage, outer: &[i64]) -> Vec<Scalar> {
        let inner: Vec<i64> = stage.inner.iter().map(|axis| value(&axis.extent, self.symbols)).collect();
        let mut values = Vec::new();
        for_each_point(&inner, &mut |point| {
            let at = [outer, point].concat();
            let position = point.iter().zip(&inner).fold(0, |sum, (p, n)| sum * n + p) as usize;
            let body = self.body(&stage.body, &at, position);
            if stage.anchor == Anchor::Pointwise {
                for store in &stage.stores {
                    if self.holds(&store.bounds, &at) {
                        self.store(store.param, &store.indices, &body[store.value as usize], &at);
                    }
                }
            }
            values.push(body.last().unwrap().clone());
        });
        if let Anchor::Reduce(function) = &stage.anchor {
            let dtype = self.dtype_of(stage);
            let total = reduce(*function, dtype, &values);
            for store in &stage.stores {
                if self.holds(&store.bounds, outer) {
                    self.store(store.param, &store.indices, &total, outer);
                }
            }
            return vec![total];
        }
        values
    }

    /// The element type of a stage's root: that of what it stores.
    fn dtype_of(&self, stage: &Stage) -> DType {
        fn of(machine: &Machine, stage: &Stage, id: usize) -> DType {
            match &stage.body[id] {
                Expr::Const(dtype, _) | Expr::Cast(dtype, _) => *dtype,
                Expr::Index(_) => DType::I64,
                Expr::Load(load) => machine.kernel.params[load.param as usize].dtype,
                Expr::Stage(s) => machine.dtype_of(&machine.kernel.stages[*s as usize]),
                Expr::Apply(op, args) => {
                    let types: Vec<DType> = args.iter().map(|&a| of(machine, stage, a as usize)).collect();
                    op.result_dtype(&types).unwrap()
                }
            }
        }
        of(self, stage, stage.body.len() - 1)
    }

    fn body(&self, body: &[Expr], at: &[i64], position: usize) -> Vec<Scalar> {
        let mut values: Vec<Scalar> = Vec::new();
        for expr in body {
            let result = match expr {
                Expr::Const(dtype, bits) => {
                    let bytes = &bits.to_le_bytes()[..dtype.size().unwrap()];
                    Scalar::read(&Data::from_le_bytes(*dtype, bytes).unwrap(), 0)
                }
                Expr::Index(index) => Scalar::Int(self.index(index, at).into(), DType::I64),
                Expr::Load(load) => self.load(load, at, &values),
                Expr::Stage(stage) => {
                    let results = &self.results[*stage as usize];
                    if results.len() == 1 { results[0].clone() } else { results[position].clone() }
                }
                Expr::Apply(op, args) => {
                    let args: Vec<Scalar> = args.iter().map(|&arg| values[arg as usize].clone()).collect();
                    rounded(op.eval(&args).unwrap())
                }
                Expr::Cast(to, arg) => cast(&values[*arg as usize], *to),
            };
            values.push(result);
        }
        values
    }

    fn index(&self, index: &Index, at: &[i64]) -> i64 {
        let terms = index.terms.iter().map(|(atom, coefficient)| {
            let atom = match atom {
                Atom::Axis(axis) => at[*axis as usize],
                Atom::FloorDiv(inner, d) => self.index(inner, at).div_euclid(value(d, self.symbols)),
                Atom::Mod(inner, d) => self.index(inner, at).rem_euclid(value(d, self.symbols)),
            };
            atom * value(coefficient, self.symbols)
        });
        terms.sum::<i64>() + value(&index.constant, self.symbols)
    }

    fn holds(&self, bounds: &[Bound], at: &[i64]) -> bool {
        bounds.iter().all(|bound| {
            let index = self.index(&bound.index, at);
            value(&bound.low, self.symbols) <= index && index < value(&bound.high, self.symbols)
        })
    }

    fn load(&self, load: &Load, at: &[i64], values: &[Scalar]) -> Scalar {
        if !self.holds(&load.bounds, at) {
            return values[load.otherwise.unwrap() as usize].clone();
        }
        let mut indices: Vec<i64> = load.indices.iter().map(|index| self.index(index, at)).collect();
        let buffer = &self.buffers[load.param as usize];
        for &(axis, expr) in &load.gathered {
            let Scalar::Int(index, _) = values[expr as usize] else { panic!("an index is an integer") };
            let extent = buffer.shape()[axis as usize] as i64;
            let index = index as i64;
            let index = if index < 0 { index.wrapping_add(extent) } else { index };
            indices[axis as usize] = index.clamp(0, extent - 1);
        }
        Scalar::read(buffer.data(), offset(buffer.shape(), &indices))
    }

    fn store(&mut self, param: u32, indices: &[Index], value: &Scalar, at: &[i64]) {
        let indices: Vec<i64> = indices.iter().map(|index| self.index(index, at)).collect();
        let buffer = &mut self.buffers[param as usize];
        let offset = offset(buffer.shape(), &indices);
        value.write(buffer.data_mut(), offset).unwrap();
    }
}

fn offset(shape: &[usize], indices: &[i64]) -> usize {
    shape.iter().zip(indices).fold(0, |sum, (&extent, &index)| {
        assert!((0..extent as i64).contains(&index), "{indices:?} is outside of {shape:?}");
        sum * extent + index as usize
    })
}

/// 16-bit floats round after every step.
fn rounded(value: Scalar) -> Scalar {
    match value {
        Scalar::F32(x, dtype @ (DType::F16 | DType::BF16)) => {
            let mut data = Data::zeros(dtype, 1);
            Scalar::F32(x, dtype).write(&mut data, 0).unwrap();
            Scalar::read(&data, 0)
        }
        value => value,
    }
}

fn cast(value: &Scalar, to: DType) -> Scalar {
    let from = match value {
        Scalar::F32(_, dtype) | Scalar::Int(_, dtype) => *dtype,
        Scalar::F64(_) => DType::F64,
        Scalar::Bool(_) => DType::Bool,
        Scalar::Text(_) => DType::String,
    };
    let mut data = Data::zeros(from, 1);
    value.write(&mut data, 0).unwrap();
    let tensor = Tensor::new(vec![1], data);
    let x = Tensors { operands: vec![Some(&tensor)], regions: &[], symbols: &|_| None };
    Scalar::read(Cast { to, saturate: true }.eval(&x).unwrap()[0].data(), 0)
}

fn reduce(function: ReduceFn, dtype: DType, values: &[Scalar]) -> Scalar {
    let as_f64 = |value: &Scalar| match value {
        Scalar::F32(x, _) => f64::from(*x),
        Scalar::F64(x) => *x,
        _ => panic!("not a float"),
    };
    if dtype.is_float() {
        let floats = values.iter().map(as_f64);
        let total = match function {
            ReduceFn::Sum => floats.sum(),
            ReduceFn::Mean => floats.sum::<f64>() / values.len() as f64,
            ReduceFn::Prod => floats.product(),
            ReduceFn::Max => floats.fold(f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b }),
            ReduceFn::Min => floats.fold(f64::INFINITY, |a, b| if a.is_nan() || a < b { a } else { b }),
            ReduceFn::Any | ReduceFn::All => panic!("not of floats"),
        };
        return if dtype == DType::F64 { Scalar::F64(total) } else { rounded(Scalar::F32(total as f32, dtype)) };
    }
    if dtype == DType::Bool {
        let mut bools = values.iter().map(|value| *value == Scalar::Bool(true));
        return Scalar::Bool(if function == ReduceFn::Any { bools.any(|b| b) } else { bools.all(|b| b) });
    }
    let bits = dtype.bits() as u32;
    let (low, high) = if dtype.is_signed_int() {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    };
    let (op, identity) = match function {
        ReduceFn::Sum | ReduceFn::Mean => (ScalarOp::Add, 0),
        ReduceFn::Prod => (ScalarOp::Mul, 1),
        ReduceFn::Max => (ScalarOp::Max, low),
        ReduceFn::Min => (ScalarOp::Min, high),
        ReduceFn::Any | ReduceFn::All => panic!("not of integers"),
    };
    let total = values.iter().fold(Scalar::Int(identity, dtype), |a, b| op.eval(&[a, b.clone()]).unwrap());
    match function {
        ReduceFn::Mean => ScalarOp::Div.eval(&[total, Scalar::Int(values.len() as i128, dtype)]).unwrap(),
        _ => total,
    }
}
