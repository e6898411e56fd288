//! The Kernel IR interpreter: runs a program point by point. Slow and obvious: partition is tested against it.
//!
//! Temporaries start as NaN or a poison integer, so that reading what nothing wrote shows in results.

mod kernels;

use super::program::{BufferId, BufferKind, Loop, Program, ReadSymbol, Step};
use super::stage::{Anchor, Bound, Expr, Kernel, Load, Operand, Stage};
use crate::eval::Symbols;
use crate::graph::ValueId;
use crate::op::{OpError, Tensors};
use crate::scalar::{ReduceFn, Scalar, ScalarOp};
use ic_types::{DType, Data, Dim, Tensor, symbols_of};
pub use kernels::{Evaluated, eval_kernels};

/// Evaluates a program on `inputs`, given in declaration order. `constants` gives the constant values of the graph that
/// it came from, `symbols` the symbols that no step reads.
///
/// # Errors
/// If a constant is missing, an access is out of range, or an op cannot be evaluated.
pub fn eval_program(
    program: &Program,
    constants: &dyn Fn(ValueId) -> Result<Tensor, OpError>,
    inputs: &[Tensor],
    symbols: &Symbols,
) -> Result<Vec<Tensor>, OpError> {
    let mut memory = Memory { program, symbols: symbols.clone(), data: vec![None; program.buffers.len()] };
    for (id, buffer) in program.buffers.iter().enumerate() {
        memory.data[id] = match &buffer.kind {
            BufferKind::Input(i) => {
                let input = inputs.get(*i as usize).ok_or_else(|| OpError(format!("input {i} is missing")))?;
                Some(input.data().clone())
            }
            BufferKind::Constant(value) => Some(constants(*value)?.data().clone()),
            BufferKind::State(_) | BufferKind::NextState(_) => {
                return Err(OpError::new("a program with states is not evaluated"));
            }
            BufferKind::Output(_) | BufferKind::Temporary | BufferKind::View { .. } => None,
        };
    }
    memory.allocate()?;
    run_steps(&mut memory, &program.steps)?;
    let outputs = (0..program.outputs.len() as u32).map(|i| {
        let found = program.buffers.iter().position(|b| b.kind == BufferKind::Output(i));
        let id = found.ok_or_else(|| OpError(format!("output {i} has no buffer")))?;
        let shape = memory.extents(&program.buffers[id].ty.shape)?;
        let data = memory.data[id].clone().ok_or_else(|| OpError::new("an output is a view"))?;
        Ok(Tensor::new(shape, data))
    });
    outputs.collect()
}

fn poison(dtype: DType, len: usize) -> Data {
    match Data::zeros(dtype, len) {
        Data::F32(v) => Data::F32(vec![f32::NAN; v.len()]),
        Data::F64(v) => Data::F64(vec![f64::NAN; v.len()]),
        Data::I64(v) => Data::I64(vec![0x5a5a_5a5a; v.len()]),
        Data::I32(v) => Data::I32(vec![0x5a5a_5a5a; v.len()]),
        data => data,
    }
}

/// The buffers' elements; views have none of their own.
struct Memory<'a> {
    program: &'a Program,
    symbols: Symbols,
    data: Vec<Option<Data>>,
}

impl Memory<'_> {
    /// Gives memory to the buffers whose extents are known by now.
    fn allocate(&mut self) -> Result<(), OpError> {
        for (id, buffer) in self.program.buffers.iter().enumerate() {
            let is_known = symbols_of(&buffer.ty.shape).iter().all(|name| self.symbols.contains_key(name));
            let has_memory = self.data[id].is_some() || matches!(buffer.kind, BufferKind::View { .. });
            if is_known && !has_memory {
                self.data[id] = Some(poison(buffer.ty.dtype, self.extents(&buffer.ty.shape)?.iter().product()));
            }
        }
        Ok(())
    }

    /// Gives a symbol its value.
    fn read_symbol(&mut self, read: &ReadSymbol) -> Result<(), OpError> {
        let (data, at) = self.element(read.buffer, i64::from(read.element))?;
        let value = match Element::read(data, at) {
            Element::Scalar(Scalar::F64(real)) => real.to_bits() as i64,
            element => element.integer()?,
        };
        crate::ensure!(value >= 0, "the extent `{}` is {value}", read.name);
        self.symbols.insert(read.name.clone(), value);
        Ok(())
    }

    fn dim(&self, dim: &Dim) -> Result<i64, OpError> {
        Ok(dim.eval(&|name| self.symbols.get(name).copied())?)
    }

    fn extents(&self, dims: &[Dim]) -> Result<Vec<usize>, OpError> {
        let extent =
            |dim: &Dim| usize::try_from(self.dim(dim)?).map_err(|_| OpError(format!("extent `{dim}` is negative")));
        dims.iter().map(extent).collect()
    }

    /// The buffer that holds the elements, and the first of them.
    fn resolve(&self, id: BufferId) -> Result<(usize, i64), OpError> {
        let buffer = &self.program.buffers[id as usize];
        match &buffer.kind {
            BufferKind::View { of, offset } => {
                let whole = &self.program.buffers[*of as usize];
                crate::ensure!(!matches!(whole.kind, BufferKind::View { .. }), "view of a view");
                crate::ensure!(whole.ty.dtype == buffer.ty.dtype, "a view changes the element type");
                Ok((*of as usize, self.dim(offset)?))
            }
            _ => Ok((id as usize, 0)),
        }
    }

    fn element(&self, id: BufferId, index: i64) -> Result<(&Data, usize), OpError> {
        let (root, offset) = self.resolve(id)?;
        let data = self.data[root].as_ref().ok_or_else(|| OpError::new("a buffer has no memory"))?;
        let at = usize::try_from(index + offset).ok().filter(|&i| i < data.len());
        let at = at.ok_or_else(|| OpError(format!("element {index} of buffer {id} is out of range")))?;
        Ok((data, at))
    }

    /// Copies a buffer to place `n` of another, counted in its size.
    fn copy(&mut self, from: BufferId, to: BufferId, n: i64) -> Result<(), OpError> {
        let len = self.extents(&self.program.buffers[from as usize].ty.shape)?.iter().product::<usize>() as i64;
        for i in 0..len {
            let (data, at) = self.element(from, i)?;
            let element = Element::read(data, at);
            self.write(to, n * len + i, &element)?;
        }
        Ok(())
    }

    fn write(&mut self, id: BufferId, index: i64, value: &Element) -> Result<(), OpError> {
        let (root, _) = self.resolve(id)?;
        let (_, at) = self.element(id, index)?;
        let data = self.data[root].as_mut().ok_or_else(|| OpError::new("a buffer has no memory"))?;
        match value {
            Element::Scalar(scalar) => scalar.write(data, at),
            Element::Raw(element) => {
                crate::ensure!(data.dtype() == element.dtype(), "stores {} as {}", element.dtype(), data.dtype());
                data.set(at, element, 0);
                Ok(())
            }
        }
    }
}

/// One element: a scalar, or raw where there is no arithmetic on the type.
#[derive(Clone, Debug)]
enum Element {
    Scalar(Scalar),
    Raw(Data),
}

impl Element {
    fn read(data: &Data, i: usize) -> Element {
        let dtype = data.dtype();
        let wide = dtype.is_float() && dtype.size().is_some_and(|size| size >= 2);
        if wide || dtype.is_int() || matches!(dtype, DType::Bool | DType::String) {
            Element::Scalar(Scalar::read(data, i))
        } else {
            Element::Raw(data.gather(std::iter::once(i)))
        }
    }

    fn scalar(&self) -> Result<Scalar, OpError> {
        match self {
            Element::Scalar(scalar) => Ok(scalar.clone()),
            Element::Raw(data) => Err(OpError(format!("no arithmetic on {}", data.dtype()))),
        }
    }

    fn integer(&self) -> Result<i64, OpError> {
        match self {
            Element::Scalar(Scalar::Int(value, _)) => Ok(*value as i64),
            other => Err(OpError(format!("expected an integer, found {other:?}"))),
        }
    }

    fn tensor(&self) -> Result<Tensor, OpError> {
        let data = match self {
            Element::Raw(data) => data.clone(),
            Element::Scalar(scalar) => {
                let mut data = Data::zeros(dtype_of(scalar), 1);
                scalar.write(&mut data, 0)?;
                data
            }
        };
        Ok(Tensor::new(vec![], data))
    }
}

fn dtype_of(scalar: &Scalar) -> DType {
    match scalar {
        Scalar::F32(_, dtype) | Scalar::Int(_, dtype) => *dtype,
        Scalar::F64(_) => DType::F64,
        Scalar::Bool(_) => DType::Bool,
        Scalar::Text(_) => DType::String,
    }
}

fn run_steps(memory: &mut Memory, steps: &[Step]) -> Result<(), OpError> {
    for step in steps {
        match step {
            Step::Kernel { kernel, args, location } => {
                run_kernel(memory, kernel, args).map_err(|e| OpError(format!("kernel of `{location}`: {e}")))?;
            }
            Step::Read(symbols) => {
                symbols.iter().try_for_each(|read| memory.read_symbol(read))?;
                memory.allocate()?;
            }
            Step::Loop(of) => run_loop(memory, of)?,
            Step::If { condition, then, otherwise, .. } => {
                let (data, at) = memory.element(*condition, 0)?;
                let Scalar::Bool(taken) = Scalar::read(data, at) else {
                    return Err(OpError::new("a condition must be bool"));
                };
                run_steps(memory, if taken { then } else { otherwise })?;
            }
        }
    }
    Ok(())
}

fn run_loop(memory: &mut Memory, of: &Loop) -> Result<(), OpError> {
    let trips = of.trips.as_ref().map(|trips| memory.dim(trips)).transpose()?;
    let truth = |memory: &Memory, buffer: BufferId| -> Result<bool, OpError> {
        let (data, at) = memory.element(buffer, 0)?;
        match Scalar::read(data, at) {
            Scalar::Bool(truth) => Ok(truth),
            _ => Err(OpError::new("a condition must be bool")),
        }
    };
    let count =
        |memory: &mut Memory, n: i64| memory.write(of.counter, 0, &Element::Scalar(Scalar::Int(n.into(), DType::I64)));
    for carried in &of.carried {
        memory.copy(carried.initial, carried.state, 0)?;
    }
    let mut goes_on = of.begin.map_or(Ok(true), |begin| truth(memory, begin))?;
    let mut n = 0;
    count(memory, 0)?;
    while goes_on && trips.is_none_or(|trips| n < trips) {
        run_steps(memory, &of.body)?;
        for &(element, room) in &of.scans {
            memory.copy(element, room, n)?;
        }
        for carried in &of.carried {
            memory.copy(carried.next, carried.state, 0)?;
        }
        goes_on = truth(memory, of.goes_on)?;
        n += 1;
        count(memory, n)?;
    }
    Ok(())
}

/// What a stage has computed at the current outer point, one element per inner point; the whole result of an op.
type Results = Vec<Vec<Element>>;

fn run_kernel(memory: &mut Memory, kernel: &Kernel, args: &[BufferId]) -> Result<(), OpError> {
    crate::ensure!(kernel.params.len() == args.len(), "takes {} buffers, found {}", kernel.params.len(), args.len());
    let mut whole: Vec<Option<Tensor>> = vec![None; kernel.stages.len()];
    for (i, stage) in kernel.stages.iter().enumerate() {
        if let Anchor::Op { op, operands, results } = &stage.anchor {
            let operands = operands.iter().map(|x| x.as_ref().map(|x| read_operand(memory, x, args)).transpose());
            let operands = operands.collect::<Result<Vec<_>, _>>()?;
            let lookup = |name: &str| memory.symbols.get(name).copied();
            let operands = operands.iter().map(Option::as_ref).collect();
            let computed = op.eval(&Tensors { operands, regions: &[], symbols: &lookup })?;
            for (result, tensor) in results.iter().zip(&computed) {
                let Some(param) = result else { continue };
                for at in 0..tensor.len() {
                    memory.write(args[*param as usize], at as i64, &Element::read(tensor.data(), at))?;
                }
            }
            whole[i] = computed.into_iter().next();
        }
    }
    let outer = memory.extents(&kernel.outer.iter().map(|a| a.extent.clone()).collect::<Vec<_>>())?;
    if kernel.stages.iter().all(|stage| matches!(stage.anchor, Anchor::Op { .. })) {
        return Ok(());
    }
    for (at, point) in points(&outer).enumerate() {
        let mut results: Results = Vec::new();
        for (stage, tensor) in kernel.stages.iter().zip(&whole) {
            let result = match tensor {
                Some(tensor) => {
                    let inner = memory.extents(&stage.inner.iter().map(|a| a.extent.clone()).collect::<Vec<_>>())?;
                    let row = inner.iter().product::<usize>();
                    (at * row..(at + 1) * row).map(|at| Element::read(tensor.data(), at)).collect()
                }
                None => run_stage(memory, kernel, args, stage, &point, &results)?,
            };
            results.push(result);
        }
    }
    Ok(())
}

fn read_operand(memory: &Memory, operand: &Operand, args: &[BufferId]) -> Result<Tensor, OpError> {
    let shape = memory.extents(&operand.shape)?;
    let strides = operand.strides.iter().map(|s| memory.dim(s)).collect::<Result<Vec<_>, _>>()?;
    let (id, first) = (args[operand.param as usize], memory.dim(&operand.offset)?);
    let dtype = memory.program.buffers[id as usize].ty.dtype;
    let mut data = Data::zeros(dtype, shape.iter().product());
    for (at, point) in points(&shape).enumerate() {
        let index = first + point.iter().zip(&strides).map(|(i, s)| i * s).sum::<i64>();
        let (source, from) = memory.element(id, index)?;
        data.set(at, source, from);
    }
    Ok(Tensor::new(shape, data))
}

/// All points of a row-major space.
fn points(extents: &[usize]) -> impl Iterator<Item = Vec<i64>> + use<> {
    let extents = extents.to_vec();
    (0..extents.iter().product::<usize>()).map(move |mut rest| {
        let mut point = vec![0; extents.len()];
        for (i, &extent) in extents.iter().enumerate().rev() {
            point[i] = (rest % extent) as i64;
            rest /= extent;
        }
        point
    })
}

fn run_stage(
    memory: &mut Memory,
    kernel: &Kernel,
    args: &[BufferId],
    stage: &Stage,
    outer: &[i64],
    results: &Results,
) -> Result<Vec<Element>, OpError> {
    let inner = memory.extents(&stage.inner.iter().map(|a| a.extent.clone()).collect::<Vec<_>>())?;
    let mut roots = Vec::new();
    for (at, point) in points(&inner).enumerate() {
        let axes = [outer, &point].concat();
        let context = Point { kernel, args, stage, axes: &axes, at, results };
        let values = context.eval_body(memory)?;
        roots.push(values.last().cloned().ok_or_else(|| OpError::new("a stage has no body"))?);
        if matches!(stage.anchor, Anchor::Pointwise) {
            for store in &stage.stores {
                if context.passes(memory, &store.bounds)? {
                    let index = context.linear(memory, store.param, &store.indices, &[])?;
                    memory.write(args[store.param as usize], index, &values[store.value as usize])?;
                }
            }
        }
    }
    let Anchor::Reduce(function) = stage.anchor else { return Ok(roots) };
    let dtype = stage_dtype(kernel, stage);
    let result = Element::Scalar(reduce(function, &roots, dtype)?);
    let context = Point { kernel, args, stage, axes: outer, at: 0, results };
    for store in &stage.stores {
        let index = context.linear(memory, store.param, &store.indices, &[])?;
        memory.write(args[store.param as usize], index, &result)?;
    }
    Ok(vec![result])
}

/// The element type of a reduce's result, for reductions of nothing.
fn stage_dtype(kernel: &Kernel, stage: &Stage) -> DType {
    let n = stage.body.len().saturating_sub(1);
    super::dtype::expr_dtypes(kernel, stage).get(n).copied().unwrap_or(DType::F32)
}

fn reduce(function: ReduceFn, elements: &[Element], dtype: DType) -> Result<Scalar, OpError> {
    let scalars = elements.iter().map(Element::scalar).collect::<Result<Vec<_>, _>>()?;
    let number = |value: f64| match dtype {
        DType::F64 => Scalar::F64(value),
        DType::Bool => Scalar::Bool(value != 0.0),
        _ if dtype.is_float() => Scalar::F32(value as f32, dtype),
        _ => Scalar::Int(value as i128, dtype),
    };
    let fold = |op: ScalarOp, start: Scalar| scalars.iter().try_fold(start, |a, b| op.eval(&[a, b.clone()]));
    match function {
        ReduceFn::Sum => fold(ScalarOp::Add, number(0.0)),
        ReduceFn::Prod => fold(ScalarOp::Mul, number(1.0)),
        ReduceFn::Any => fold(ScalarOp::Or, Scalar::Bool(false)),
        ReduceFn::All => fold(ScalarOp::And, Scalar::Bool(true)),
        ReduceFn::Max | ReduceFn::Min if !scalars.is_empty() => {
            let op = if function == ReduceFn::Max { ScalarOp::Max } else { ScalarOp::Min };
            fold(op, scalars[0].clone())
        }
        ReduceFn::Max => Ok(extreme(dtype, f64::NEG_INFINITY)),
        ReduceFn::Min => Ok(extreme(dtype, f64::INFINITY)),
        ReduceFn::Mean => {
            let sum = fold(ScalarOp::Add, number(0.0))?;
            ScalarOp::Div.eval(&[sum, number(scalars.len() as f64)])
        }
    }
}

/// The value that a largest (`-∞`) or smallest (`+∞`) element of nothing has.
fn extreme(dtype: DType, value: f64) -> Scalar {
    let bits = dtype.bits() as u32;
    match dtype {
        DType::F64 => Scalar::F64(value),
        DType::Bool => Scalar::Bool(value > 0.0),
        _ if dtype.is_float() => Scalar::F32(value as f32, dtype),
        _ if dtype.is_unsigned_int() => Scalar::Int(if value > 0.0 { (1 << bits) - 1 } else { 0 }, dtype),
        _ => Scalar::Int(if value > 0.0 { (1 << (bits - 1)) - 1 } else { -(1 << (bits - 1)) }, dtype),
    }
}

/// A point of a stage's space.
struct Point<'a> {
    kernel: &'a Kernel,
    args: &'a [BufferId],
    stage: &'a Stage,
    axes: &'a [i64],
    /// The inner point's number.
    at: usize,
    results: &'a Results,
}

impl Point<'_> {
    fn eval_body(&self, memory: &Memory) -> Result<Vec<Element>, OpError> {
        let mut values: Vec<Element> = Vec::with_capacity(self.stage.body.len());
        for expr in &self.stage.body {
            let value = self.eval(memory, expr, &values)?;
            values.push(value);
        }
        Ok(values)
    }

    fn eval(&self, memory: &Memory, expr: &Expr, values: &[Element]) -> Result<Element, OpError> {
        let lookup = |name: &str| memory.symbols.get(name).copied();
        match expr {
            Expr::Const(dtype, bits) => {
                if dtype.is_handle() {
                    // The handle 0.
                    return Ok(Element::read(&Data::zeros(*dtype, 1), 0));
                }
                let size = dtype.size().ok_or_else(|| OpError::new("a type without size"))?;
                let data = Data::from_le_bytes(*dtype, &bits.to_le_bytes()[..size]);
                Ok(Element::read(&data.ok_or_else(|| OpError::new("malformed constant"))?, 0))
            }
            Expr::Index(index) => Ok(Element::Scalar(Scalar::Int(index.eval(self.axes, &lookup)?.into(), DType::I64))),
            Expr::Load(load) => self.load(memory, load, values),
            Expr::Stage(i) => {
                let result = &self.results[*i as usize];
                result.get(if result.len() == 1 { 0 } else { self.at }).cloned().ok_or_else(|| OpError::new("no stage"))
            }
            Expr::Apply(function, args) => {
                let args: Result<Vec<Scalar>, _> = args.iter().map(|&i| values[i as usize].scalar()).collect();
                Ok(Element::Scalar(function.eval(&args?)?))
            }
            Expr::Cast(to, value) => cast(&values[*value as usize], *to),
        }
    }

    fn load(&self, memory: &Memory, load: &Load, values: &[Element]) -> Result<Element, OpError> {
        if !self.passes(memory, &load.bounds)? {
            let other = load.otherwise.ok_or_else(|| OpError::new("bounds without an alternative"))?;
            return Ok(values[other as usize].clone());
        }
        let gathered: Result<Vec<(u32, i64)>, OpError> =
            load.gathered.iter().map(|&(axis, e)| Ok((axis, values[e as usize].integer()?))).collect();
        let index = self.linear(memory, load.param, &load.indices, &gathered?)?;
        let (data, at) = memory.element(self.args[load.param as usize], index)?;
        Ok(Element::read(data, at))
    }

    fn passes(&self, memory: &Memory, bounds: &[Bound]) -> Result<bool, OpError> {
        let lookup = |name: &str| memory.symbols.get(name).copied();
        for bound in bounds {
            let value = bound.index.eval(self.axes, &lookup)?;
            if value < memory.dim(&bound.low)? || value >= memory.dim(&bound.high)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The element's number in a parameter, with every index checked.
    fn linear(
        &self,
        memory: &Memory,
        param: u32,
        indices: &[super::Index],
        gathered: &[(u32, i64)],
    ) -> Result<i64, OpError> {
        let lookup = |name: &str| memory.symbols.get(name).copied();
        let shape = memory.extents(&self.kernel.params[param as usize].shape)?;
        crate::ensure!(shape.len() == indices.len(), "{} indices into rank {}", indices.len(), shape.len());
        let mut linear = 0;
        for (axis, (index, &extent)) in indices.iter().zip(&shape).enumerate() {
            let extent = extent as i64;
            let i = match gathered.iter().find(|(a, _)| *a as usize == axis) {
                Some(&(_, i)) => (if i < 0 { i + extent } else { i }).clamp(0, (extent - 1).max(0)),
                None => index.eval(self.axes, &lookup)?,
            };
            crate::ensure!((0..extent).contains(&i), "index {i} of axis {axis} of parameter {param}: extent {extent}");
            linear = linear * extent + i;
        }
        Ok(linear)
    }
}

fn cast(value: &Element, to: DType) -> Result<Element, OpError> {
    let tensor = value.tensor()?;
    let cast = crate::Op::from(crate::ops::Cast { to, saturate: true });
    let results = cast.eval(&Tensors { operands: vec![Some(&tensor)], regions: &[], symbols: &|_| None })?;
    Ok(Element::read(results[0].data(), 0))
}
