//! Expressions of a [`Form`] as PTX: values of one point, or of a few neighbours at a time.
//!
//! Elements of f16 and bf16 are f32 in registers, rounded when they are stored or converted. Integers up to 32 bits are
//! in 32-bit registers, extended by their sign. Index arithmetic is in 32 bits: plans refuse larger buffers.

mod apply;
mod circular;
mod convert;
mod function;
mod memory;
mod powers;

pub(crate) use memory::{is_vector, is_vector_load};

use super::ptx::{Binary, Builder, Class, Compare, Operand, Reg, Ty};
use crate::shared::form::{Form, Get, Node, NodeId, Pass};
use crate::shared::index::{IndexCode, Sign, index_value};
use ic_ir::kernel::{Bound, Index};
use ic_ir::scalar::ScalarOp;
use ic_types::{DType, Dim};
use std::collections::HashMap;

/// The value of an expression at the lanes of a point.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Value {
    /// One per lane, or one for all.
    pub(crate) lanes: Vec<Operand>,
    /// Its element type.
    pub(crate) dtype: DType,
}

impl Value {
    /// The value at lane `i`.
    pub(crate) fn lane(&self, i: usize) -> Operand {
        self.lanes[if self.lanes.len() == 1 { 0 } else { i }]
    }
}

/// Where expressions are evaluated: neighbours along one axis.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    /// The first lane's index on each axis, outer axes first.
    pub(crate) axes: Vec<Operand>,
    /// The axis along which the lanes lie.
    pub(crate) lane_axis: usize,
    /// Number of lanes. If not 1, the first lane's index is a multiple of it.
    pub(crate) n_lanes: usize,
    /// Which lanes exist: all of them, all or none, or each by its own.
    pub(crate) guards: Vec<Reg>,
    /// Whether this thread stores.
    pub(crate) stores: Option<Reg>,
    /// Another index on the lanes' axis, and how much further the first lane is: addresses of it serve several points.
    pub(crate) from: Option<(Operand, i64)>,
}

impl Point {
    /// Axes of which an index that is linear in the lanes' axis is taken, and how much further on that axis the point is.
    fn near(&self) -> (Vec<Operand>, i64) {
        let mut axes = self.axes.clone();
        let Some((from, further)) = self.from else { return (axes, 0) };
        axes[self.lane_axis] = from;
        (axes, further)
    }

    /// The guard of loads at lane `i`.
    fn guard(&self, i: usize) -> Option<Reg> {
        self.guards.get(if self.guards.len() == 1 { 0 } else { i }).copied()
    }
}

/// Emits code of one function.
pub(crate) struct Emitter<'f> {
    /// The function.
    pub(crate) b: Builder,
    /// Element types of the parameters.
    pub(crate) params: &'f [DType],
    /// Which parameters begin at a multiple of 16 bytes.
    pub(crate) aligned: &'f [bool],
    buffers: Vec<Option<Reg>>,
    /// Extents and strides that the launch passes.
    pub(crate) dims: Vec<Dim>,
    dim_regs: Vec<Reg>,
    /// A parameter whose element at the point is already in registers.
    pub(crate) in_registers: Option<(usize, Value)>,
    /// What has been loaded at the point before, where that is kept.
    pub(crate) loaded: Option<Vec<(Get, Value)>>,
    /// Whether all floats in memory have 16 bits, so that f32 in registers may be some units in the last place off.
    pub(crate) is_rounded: bool,
    /// Factors of products, which what adds these may fuse.
    products: HashMap<Reg, [Operand; 2]>,
    /// What halves in registers were before they were rounded.
    exact: HashMap<Reg, (DType, Operand)>,
}

/// The registers' class of an element type.
pub(crate) fn class_of(dtype: DType) -> Class {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => Class::F32,
        DType::F64 => Class::F64,
        DType::Bool => Class::Pred,
        DType::I64 | DType::U64 => Class::B64,
        _ => Class::B32,
    }
}

/// The type of arithmetic on an element type.
pub(crate) fn arithmetic(dtype: DType) -> Ty {
    match class_of(dtype) {
        Class::F32 => Ty::F32,
        Class::F64 => Ty::F64,
        Class::Pred => Ty::Pred,
        Class::B64 if dtype.is_unsigned_int() => Ty::U64,
        Class::B64 => Ty::S64,
        _ if dtype.is_unsigned_int() => Ty::U32,
        _ => Ty::S32,
    }
}

impl<'f> Emitter<'f> {
    /// An empty function over parameters of these types.
    pub(crate) fn new(params: &'f [DType], aligned: &'f [bool]) -> Emitter<'f> {
        let mut floats = params.iter().filter(|dtype| dtype.is_float()).peekable();
        let is_rounded = floats.peek().is_some() && floats.all(|dtype| matches!(dtype, DType::F16 | DType::BF16));
        Emitter {
            b: Builder::default(),
            params,
            aligned,
            buffers: vec![None; params.len()],
            dims: Vec::new(),
            dim_regs: Vec::new(),
            in_registers: None,
            loaded: None,
            is_rounded,
            products: HashMap::new(),
            exact: HashMap::new(),
        }
    }

    /// The address of a parameter.
    pub(crate) fn buffer(&mut self, param: usize) -> Reg {
        if let Some(reg) = self.buffers[param] {
            return reg;
        }
        let reg = self.b.parameter(Class::B64, param);
        self.buffers[param] = Some(reg);
        reg
    }

    /// The value of an extent or stride.
    pub(crate) fn dim(&mut self, dim: &Dim) -> Operand {
        if let Some(value) = dim.as_const() {
            return Operand::Int(value);
        }
        if let Some(found) = self.dims.iter().position(|known| known == dim) {
            return self.dim_regs[found].into();
        }
        let reg = self.b.parameter(Class::B32, self.params.len() + self.dims.len());
        self.dims.push(dim.clone());
        self.dim_regs.push(reg);
        reg.into()
    }

    /// The value of an index at `axes`.
    pub(crate) fn index(&mut self, index: &Index, axes: &[Operand]) -> Operand {
        index_value(&mut At { emitter: self, axes }, index)
    }

    /// Quotient towards negative infinity, and the remainder.
    fn divided(&mut self, value: Operand, divisor: &Dim, sign: Sign) -> (Operand, Operand) {
        let by = self.dim(divisor);
        if sign == Sign::NonNegative {
            return self.b.div_rem(value, by);
        }
        let value = self.b.in_register(Ty::S32, value);
        let quotient = self.b.binary(Binary::Div, Ty::S32, value, by);
        let whole = self.b.mul(quotient.into(), by);
        let rest = self.b.binary(Binary::Sub, Ty::S32, value, whole);
        let below = self.b.compare(Compare::Lt, Ty::S32, rest, 0);
        let (less, more) = (self.b.binary(Binary::Sub, Ty::S32, quotient, 1), self.b.add(rest.into(), by));
        (self.b.select(Ty::B32, below, less, quotient).into(), self.b.select(Ty::B32, below, more, rest).into())
    }

    /// The point of a row-major space of these extents that has number `linear`.
    pub(crate) fn unflatten(&mut self, linear: Operand, extents: &[Dim]) -> Vec<Operand> {
        let mut axes = vec![Operand::Int(0); extents.len()];
        let mut rest = linear;
        for (axis, extent) in extents.iter().enumerate().rev() {
            if axis == 0 {
                axes[0] = rest;
                break;
            }
            let extent = self.dim(extent);
            (rest, axes[axis]) = self.b.div_rem(rest, extent);
        }
        axes
    }

    /// Whether all conditions hold; `None` if there are none.
    fn conditions(&mut self, bounds: &[Bound], axes: &[Operand]) -> Option<Reg> {
        let mut all = None;
        for bound in bounds {
            let value = self.index(&bound.index, axes);
            let value = self.b.in_register(Ty::S32, value);
            for (limit, compare) in [(&bound.low, Compare::Ge), (&bound.high, Compare::Lt)] {
                // Beyond 32 bits, no index reaches the limit.
                if limit.as_const().is_some_and(|limit| i32::try_from(limit).is_err()) {
                    continue;
                }
                let limit = self.dim(limit);
                let holds = self.b.compare(compare, Ty::S32, value, limit);
                all = self.b.both(all, Some(holds));
            }
        }
        all
    }

    /// Evaluates what the pass stores, keeps or reduces. `results` are those of earlier passes at this point.
    ///
    /// # Errors
    /// What there is no code for.
    pub(crate) fn evaluate(
        &mut self,
        pass: &Pass,
        point: &Point,
        results: &HashMap<usize, Value>,
    ) -> Result<Vec<Option<Value>>, String> {
        let needed = pass.needed();
        let mut values: Vec<Option<Value>> = vec![None; pass.nodes.len()];
        for (id, node) in pass.nodes.iter().enumerate().filter(|(id, _)| needed[*id]) {
            let dtype = pass.types[id];
            let of = |id: &usize| values[*id].clone().ok_or("an operand comes after its user");
            let value = match node {
                Node::Const(bits) => Value { lanes: vec![self.constant(dtype, *bits)], dtype },
                Node::Index(index) => self.index_value(index, point),
                Node::Load(get) => {
                    let gathers = get.gathers.iter().map(|g| of(&g.index)).collect::<Result<Vec<_>, _>>()?;
                    let otherwise = get.otherwise.as_ref().map(of).transpose()?;
                    let known = self.loaded.iter().flatten().find(|(known, _)| known == get);
                    match known.map(|(_, value)| value.clone()) {
                        Some(value) => value,
                        None => {
                            let value = self.load(get, point, &gathers, otherwise.as_ref())?;
                            if let Some(loaded) = self.loaded.as_mut().filter(|_| get.is_of_the_point()) {
                                loaded.push((get.clone(), value.clone()));
                            }
                            value
                        }
                    }
                }
                Node::Pass(pass) => results.get(pass).cloned().ok_or("a result that has not been computed")?,
                Node::Apply(ScalarOp::Div, args) if self.is_rounded && is_total(pass, args[1]) => {
                    let (a, total) = (of(&args[0])?, of(&args[1])?);
                    let invert =
                        |e: &mut Self, x: Operand| Operand::Reg(e.b.binary(Binary::DivFull, Ty::F32, 1.0f32, x));
                    let factor = self.lanewise(&[total], dtype, |e, total, _| Ok(invert(e, total[0])))?;
                    self.lanewise(&[a, factor], dtype, |e, args, types| e.apply(ScalarOp::Mul, types, dtype, args))?
                }
                Node::Apply(op, args) => {
                    let args = args.iter().map(of).collect::<Result<Vec<_>, _>>()?;
                    self.lanewise(&args, dtype, |e, args, types| e.apply(*op, types, dtype, args))?
                }
                Node::Cast(arg) => {
                    let arg = of(arg)?;
                    let from = arg.dtype;
                    self.lanewise(&[arg], dtype, |e, args, _| e.cast(from, dtype, args[0]))?
                }
            };
            values[id] = Some(value);
        }
        Ok(values)
    }

    /// Applies a function to every lane, once if all arguments are the same for all lanes.
    pub(crate) fn lanewise(
        &mut self,
        args: &[Value],
        dtype: DType,
        mut function: impl FnMut(&mut Self, &[Operand], &[DType]) -> Result<Operand, String>,
    ) -> Result<Value, String> {
        let n = args.iter().map(|arg| arg.lanes.len()).max().unwrap_or(1);
        let types: Vec<DType> = args.iter().map(|arg| arg.dtype).collect();
        let lanes = (0..n).map(|lane| {
            let args: Vec<Operand> = args.iter().map(|arg| arg.lane(lane)).collect();
            function(self, &args, &types)
        });
        Ok(Value { lanes: lanes.collect::<Result<Vec<_>, _>>()?, dtype })
    }

    /// An index as an i64 value.
    fn index_value(&mut self, index: &Index, point: &Point) -> Value {
        let n = if point.n_lanes > 1 && index.uses(point.lane_axis as u32) { point.n_lanes } else { 1 };
        let lanes = (0..n).map(|lane| {
            let axes = self.axes_at(point, lane);
            match self.index(index, &axes) {
                Operand::Reg(reg) => self.b.cvt(super::ptx::Rounding::None, Ty::S64, Ty::S32, reg).into(),
                constant => constant,
            }
        });
        Value { lanes: lanes.collect(), dtype: DType::I64 }
    }

    /// The axes at lane `lane`.
    fn axes_at(&mut self, point: &Point, lane: usize) -> Vec<Operand> {
        let mut axes = point.axes.clone();
        if lane > 0 {
            axes[point.lane_axis] = self.b.add(axes[point.lane_axis], Operand::Int(lane as i64));
        }
        axes
    }

    /// A constant as an operand.
    pub(crate) fn constant(&mut self, dtype: DType, bits: u128) -> Operand {
        match dtype {
            DType::F32 => Operand::F32(bits as u32),
            DType::F16 => ic_types::f16_to_f32(bits as u16).into(),
            DType::BF16 => ic_types::bf16_to_f32(bits as u16).into(),
            DType::F64 => Operand::F64(bits as u64),
            DType::Bool => self.b.compare(Compare::Ne, Ty::S32, i64::from(bits & 1 == 1), 0).into(),
            DType::I8 => Operand::Int((bits as i8).into()),
            DType::I16 => Operand::Int((bits as i16).into()),
            DType::I32 => Operand::Int((bits as i32).into()),
            _ => Operand::Int(bits as i64),
        }
    }

    /// Writes the stores of a pass whose values are `values`.
    pub(crate) fn put_all(&mut self, pass: &Pass, point: &Point, values: &[Option<Value>]) -> Result<(), String> {
        for put in &pass.stores {
            let value = values[put.value].as_ref().ok_or("a stored value that has not been computed")?;
            self.store(put, point, value)?;
        }
        Ok(())
    }
}

/// Whether a node is what an earlier pass has summed up, in f32.
fn is_total(pass: &Pass, node: NodeId) -> bool {
    matches!(pass.nodes[node], Node::Pass(_)) && pass.types[node] == DType::F32
}

/// Indices at some axes.
struct At<'e, 'f, 'a> {
    emitter: &'e mut Emitter<'f>,
    axes: &'a [Operand],
}

impl IndexCode for At<'_, '_, '_> {
    type Value = Operand;

    fn axis(&mut self, axis: usize) -> Operand {
        self.axes[axis]
    }

    fn dim(&mut self, dim: &Dim) -> Operand {
        self.emitter.dim(dim)
    }

    fn add(&mut self, a: Operand, b: Operand) -> Operand {
        self.emitter.b.add(a, b)
    }

    fn times(&mut self, a: Operand, b: &Dim) -> Operand {
        let factor = self.emitter.dim(b);
        self.emitter.b.mul(a, factor)
    }

    fn floor_div(&mut self, a: Operand, divisor: &Dim, sign: Sign) -> Operand {
        self.emitter.divided(a, divisor, sign).0
    }

    fn modulo(&mut self, a: Operand, divisor: &Dim, sign: Sign) -> Operand {
        self.emitter.divided(a, divisor, sign).1
    }
}

/// The parameters' types and whether the form needs what only points without inner axes have.
pub(crate) fn is_pointwise(form: &Form) -> bool {
    form.passes.iter().all(|pass| pass.inner.is_empty() && pass.reduce.is_none())
}
