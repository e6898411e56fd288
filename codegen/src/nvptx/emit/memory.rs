//! Loads and stores of elements: 16 bytes at a time where neighbours are neighbours in memory.

use super::{Emitter, Point, Value, class_of};
use crate::nvptx::ptx::{Binary, Class, Compare, Operand, Reg, Rounding, Space, Ty};
use crate::shared::form::{Get, Put};
use ic_ir::kernel::{Atom, Index};
use ic_types::{DType, Dim};

/// The type of memory accesses of an element type, if it has one.
fn memory_ty(dtype: DType) -> Result<Ty, String> {
    Ok(match dtype {
        DType::F32 => Ty::F32,
        DType::F64 => Ty::F64,
        DType::F16 | DType::BF16 => Ty::B16,
        DType::Bool | DType::U8 => Ty::U8,
        DType::I8 => Ty::S8,
        DType::U16 => Ty::U16,
        DType::I16 => Ty::S16,
        DType::I32 => Ty::S32,
        DType::U32 => Ty::U32,
        DType::I64 => Ty::S64,
        DType::U64 => Ty::U64,
        dtype => return Err(format!("elements of type {dtype}")),
    })
}

/// How the element of lane `i` relates to that of lane 0.
enum Step {
    /// It is the same.
    Same,
    /// It is `i` times this further.
    Stride(i64),
    /// Its index is computed anew.
    Other,
}

fn step_of(index: &Index, point: &Point) -> Step {
    let axis = point.lane_axis as u32;
    if point.n_lanes == 1 || !index.uses(axis) {
        return Step::Same;
    }
    let mut stride = None;
    for (atom, coefficient) in &index.terms {
        match atom {
            Atom::Axis(a) if *a == axis => stride = coefficient.as_const(),
            Atom::Axis(_) => {}
            Atom::FloorDiv(inner, _) | Atom::Mod(inner, _) if inner.uses(axis) => return Step::Other,
            _ => {}
        }
    }
    stride.map_or(Step::Other, Step::Stride)
}

/// Whether the lanes are neighbours in memory from a multiple of their number on.
pub(crate) fn is_vector(index: &Index, lane_axis: usize, n_lanes: usize) -> bool {
    let n = Dim::constant(n_lanes as i64);
    let is_multiple = |dim: &Dim| dim.is(0) || dim.exact_div(&n).is_some();
    let mut is_unit = false;
    for (atom, coefficient) in &index.terms {
        match atom {
            Atom::Axis(a) if *a as usize == lane_axis => is_unit = coefficient.is(1),
            Atom::FloorDiv(inner, _) | Atom::Mod(inner, _) if inner.uses(lane_axis as u32) => return false,
            _ if !is_multiple(coefficient) => return false,
            _ => {}
        }
    }
    is_unit && is_multiple(&index.constant)
}

/// Whether the lanes of a load are neighbours in memory from a multiple of their number on, if data says the same place
/// for all lanes.
pub(crate) fn is_vector_load(get: &Get, lane_axis: usize, n_lanes: usize) -> bool {
    let n = Dim::constant(n_lanes as i64);
    get.gathers.iter().all(|gather| gather.stride.exact_div(&n).is_some()) && is_vector(&get.at, lane_axis, n_lanes)
}

impl Emitter<'_> {
    /// The elements at the lanes of a point.
    pub(super) fn load(
        &mut self,
        get: &Get,
        point: &Point,
        gathers: &[Value],
        otherwise: Option<&Value>,
    ) -> Result<Value, String> {
        if let Some((param, value)) = &self.in_registers
            && *param == get.param
        {
            return Ok(value.clone());
        }
        let dtype = self.params[get.param];
        let bounds_vary = point.n_lanes > 1 && get.bounds.iter().any(|b| b.index.uses(point.lane_axis as u32));
        let gathers_vary = gathers.iter().any(|g| g.lanes.len() > 1);
        let otherwise_varies = otherwise.is_some_and(|value| value.lanes.len() > 1);
        let step = step_of(&get.at, point);
        if matches!(step, Step::Same) && !bounds_vary && !gathers_vary && !otherwise_varies {
            let lane = self.load_lane(get, point, 0, gathers, otherwise)?;
            return Ok(Value { lanes: vec![lane], dtype });
        }
        let plain = !gathers_vary && !bounds_vary && point.guards.len() <= 1;
        if plain && self.aligned[get.param] && is_vector_load(get, point.lane_axis, point.n_lanes) {
            return self.load_vector(get, point, gathers, otherwise);
        }
        let lanes = (0..point.n_lanes).map(|lane| self.load_lane(get, point, lane, gathers, otherwise));
        Ok(Value { lanes: lanes.collect::<Result<_, _>>()?, dtype })
    }

    fn load_lane(
        &mut self,
        get: &Get,
        point: &Point,
        lane: usize,
        gathers: &[Value],
        otherwise: Option<&Value>,
    ) -> Result<Operand, String> {
        let dtype = self.params[get.param];
        let axes = self.axes_at(point, lane);
        let bounds = self.conditions(&get.bounds, &axes);
        let guard = self.b.both(point.guard(lane), bounds);
        let (index, offset) = match step_of(&get.at, point) {
            Step::Stride(stride) => (self.index(&get.at, &point.axes), lane as i64 * stride),
            Step::Same => (self.index(&get.at, &point.axes), 0),
            Step::Other => (self.index(&get.at, &axes), 0),
        };
        let index = self.with_gathers(index, get, gathers, lane);
        let ty = memory_ty(dtype)?;
        let (address, offset) = self.element_address(get.param, index, offset, ty.bytes());
        let dst = self.b.reg(ty.class());
        if guard.is_some() {
            self.zero(ty, dst);
        }
        self.b.load(Space::Global, ty, &[dst], address, offset, guard);
        let value = self.loaded(dtype, dst);
        match (bounds, otherwise) {
            (Some(bounds), Some(other)) => {
                let other = other.lane(lane);
                Ok(self.pick(dtype, bounds, value, other))
            }
            // Without an alternative, what is not read is 0.
            _ => Ok(value),
        }
    }

    /// A linear index with what data adds to it at a lane.
    fn with_gathers(&mut self, index: Operand, get: &Get, gathers: &[Value], lane: usize) -> Operand {
        get.gathers.iter().zip(gathers).fold(index, |index, (gather, value)| {
            let at = self.gathered(value.lane(lane), value.dtype, &gather.extent);
            let stride = self.dim(&gather.stride);
            let term = self.b.mul(at, stride);
            self.b.add(index, term)
        })
    }

    /// The address of an element, and what does not fit into an instruction's offset folded in.
    fn element_address(&mut self, param: usize, index: Operand, offset: i64, bytes: u32) -> (Reg, i32) {
        let base = self.buffer(param);
        match i32::try_from(offset * i64::from(bytes)) {
            Ok(offset) => (self.b.address(base, index, bytes), offset),
            Err(_) => {
                let index = self.b.add(index, Operand::Int(offset));
                (self.b.address(base, index, bytes), 0)
            }
        }
    }

    fn load_vector(
        &mut self,
        get: &Get,
        point: &Point,
        gathers: &[Value],
        otherwise: Option<&Value>,
    ) -> Result<Value, String> {
        let dtype = self.params[get.param];
        let bounds = self.conditions(&get.bounds, &point.axes);
        let guard = self.b.both(point.guard(0), bounds);
        let (axes, further) = point.near();
        let index = self.index(&get.at, &axes);
        let index = self.with_gathers(index, get, gathers, 0);
        let ty = memory_ty(dtype)?;
        let (address, start) = self.element_address(get.param, index, further, ty.bytes());
        let mut lanes = Vec::new();
        // Halves travel in pairs.
        let (word, per_word) = if ty == Ty::B16 { (Ty::B32, 2) } else { (ty, 1) };
        let per_access = (16 / ty.bytes() as usize).min(point.n_lanes).min(4 * per_word);
        for first in (0..point.n_lanes).step_by(per_access) {
            let words: Vec<Reg> = (0..per_access / per_word).map(|_| self.b.reg(word.class())).collect();
            if guard.is_some() {
                words.iter().for_each(|&reg| self.zero(word, reg));
            }
            self.b.load(Space::Global, word, &words, address, start + first as i32 * ty.bytes() as i32, guard);
            for reg in words {
                if per_word == 2 {
                    let parts = [self.b.reg(Class::B16), self.b.reg(Class::B16)];
                    self.b.push(crate::nvptx::ptx::Instruction::Unpack { parts, src: reg });
                    lanes.extend(parts.map(|half| self.loaded(dtype, half)));
                } else {
                    lanes.push(self.loaded(dtype, reg));
                }
            }
        }
        if let (Some(bounds), Some(other)) = (bounds, otherwise) {
            lanes = (0..).zip(lanes).map(|(i, lane)| self.pick(dtype, bounds, lane, other.lane(i))).collect();
        }
        Ok(Value { lanes, dtype })
    }

    fn zero(&mut self, ty: Ty, dst: Reg) {
        match ty.class() {
            Class::F32 => self.b.assign(Ty::F32, dst, 0.0f32),
            Class::F64 => self.b.assign(Ty::F64, dst, Operand::F64(0)),
            Class::B64 => self.b.assign(Ty::B64, dst, 0),
            Class::B16 => self.b.assign(Ty::B16, dst, 0),
            _ => self.b.assign(Ty::B32, dst, 0),
        }
    }

    /// `p ? yes : no`.
    pub(super) fn pick(&mut self, dtype: DType, p: Reg, yes: Operand, no: Operand) -> Operand {
        if class_of(dtype) == Class::Pred {
            return self.pick_bool(p, yes, no);
        }
        let ty = match class_of(dtype) {
            Class::F32 => Ty::F32,
            Class::F64 => Ty::F64,
            Class::B64 => Ty::B64,
            _ => Ty::B32,
        };
        self.b.select(ty, p, yes, no).into()
    }

    fn pick_bool(&mut self, p: Reg, yes: Operand, no: Operand) -> Operand {
        let not = self.b.unary(crate::nvptx::ptx::Unary::Not, Ty::Pred, p);
        let (yes, no) = (self.b.binary(Binary::And, Ty::Pred, p, yes), self.b.binary(Binary::And, Ty::Pred, not, no));
        self.b.binary(Binary::Or, Ty::Pred, yes, no).into()
    }

    /// An index from data: negative ones count from the end, and what is out of range is clamped.
    fn gathered(&mut self, index: Operand, dtype: DType, extent: &Dim) -> Operand {
        let extent = self.dim(extent);
        let wide = class_of(dtype) == Class::B64;
        let ty = if wide { Ty::S64 } else { Ty::S32 };
        let extent = match extent {
            Operand::Reg(reg) if wide => self.b.cvt(Rounding::None, Ty::S64, Ty::S32, reg).into(),
            other => other,
        };
        let index = self.b.in_register(ty, index);
        let negative = self.b.compare(Compare::Lt, ty, index, 0);
        let from_end = self.b.binary(Binary::Add, ty, index, extent);
        let index = self.b.select(if wide { Ty::B64 } else { Ty::B32 }, negative, from_end, index);
        let extent = self.b.in_register(ty, extent);
        let last = self.b.binary(Binary::Sub, ty, extent, 1);
        let index = self.b.binary(Binary::Min, ty, index, last);
        let index = self.b.binary(Binary::Max, ty, index, 0);
        if wide { self.b.cvt(Rounding::None, Ty::S32, Ty::S64, index).into() } else { index.into() }
    }

    /// Stores a value at the lanes of a point.
    pub(super) fn store(&mut self, put: &Put, point: &Point, value: &Value) -> Result<(), String> {
        let dtype = self.params[put.param];
        let ty = memory_ty(dtype)?;
        let bounds_vary = point.n_lanes > 1 && put.bounds.iter().any(|b| b.index.uses(point.lane_axis as u32));
        let vector = is_vector(&put.at, point.lane_axis, point.n_lanes) && self.aligned[put.param];
        if point.n_lanes > 1 && vector && !bounds_vary && point.guards.len() <= 1 {
            return self.store_vector(put, point, value, ty);
        }
        // Lanes that share an element have one value.
        let n = if matches!(step_of(&put.at, point), Step::Same) { 1 } else { point.n_lanes };
        for lane in 0..n {
            let axes = self.axes_at(point, lane);
            let bounds = self.conditions(&put.bounds, &axes);
            let guard = self.b.both(point.guard(lane), bounds);
            let guard = self.b.both(guard, point.stores);
            let (index, offset) = match step_of(&put.at, point) {
                Step::Stride(stride) => (self.index(&put.at, &point.axes), lane as i64 * stride),
                _ => (self.index(&put.at, &axes), 0),
            };
            let (address, offset) = self.element_address(put.param, index, offset, ty.bytes());
            let src = self.storable(dtype, value.lane(lane));
            self.b.store(Space::Global, ty, &[src], address, offset, guard);
        }
        Ok(())
    }

    fn store_vector(&mut self, put: &Put, point: &Point, value: &Value, ty: Ty) -> Result<(), String> {
        let dtype = self.params[put.param];
        let bounds = self.conditions(&put.bounds, &point.axes);
        let guard = self.b.both(point.guard(0), bounds);
        let guard = self.b.both(guard, point.stores);
        let (axes, further) = point.near();
        let index = self.index(&put.at, &axes);
        let (address, start) = self.element_address(put.param, index, further, ty.bytes());
        let elements: Vec<Operand> = (0..point.n_lanes).map(|lane| value.lane(lane)).collect();
        let (word, per_word) = if ty == Ty::B16 { (Ty::B32, 2) } else { (ty, 1) };
        let per_access = (16 / ty.bytes() as usize).min(point.n_lanes).min(4 * per_word);
        for (i, chunk) in elements.chunks(per_access).enumerate() {
            let words: Vec<Reg> = match per_word {
                2 => chunk.as_chunks().0.iter().map(|&pair| self.storable_pair(dtype, pair)).collect(),
                _ => chunk.iter().map(|&element| self.storable(dtype, element)).collect(),
            };
            let offset = start + (i * per_access) as i32 * ty.bytes() as i32;
            self.b.store(Space::Global, word, &words, address, offset, guard);
        }
        Ok(())
    }

    /// Two halves in one register.
    pub(crate) fn pair(&mut self, low: Reg, high: Reg) -> Reg {
        let dst = self.b.reg(Class::B32);
        self.b.push(crate::nvptx::ptx::Instruction::Pack { dst, parts: [low, high] });
        dst
    }
}
