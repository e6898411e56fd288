//! Kernels of pointwise and reduce stages as functions of tensors.
//!
//! The same lowering serves the epilogues of contractions, which work on one tile of a matrix: there a load is a tile of
//! a buffer rather than a view of all of it.

use super::access::{Affine, Region, View, natural};
use super::contract::Access;
use super::functions::FoldFn;
use super::lanes::{Lane, Lanes};
use super::scalar;
use super::tree::{Function, Number, TensorId, TensorOp};
use crate::target::AscendTarget;
use ic_ir::kernel::{Anchor, Expr, Index, Kernel, Load, Stage, Store};
use ic_ir::scalar::ReduceFn;
use ic_types::{DType, Dim};

/// A function of tensors and the kernel's buffers that it reads and writes.
#[derive(Clone, PartialEq, Debug)]
pub struct VectorKernel {
    /// The function.
    pub function: Function,
    /// The kernel's parameter that each argument sees; one may be seen in several shapes.
    pub arguments: Vec<u32>,
    /// The kernel's parameter that each result is the new content of.
    pub results: Vec<u32>,
}

/// Lowers a kernel of pointwise and reduce stages. `None` if it has nothing to do.
///
/// # Errors
/// What has no form that the vendor's compiler accepts.
pub fn lower_vector(kernel: &Kernel, target: AscendTarget) -> Result<Option<VectorKernel>, String> {
    for param in &kernel.params {
        target.check_dtype(param.dtype)?;
    }
    let outer: Vec<Dim> = kernel.outer.iter().map(|axis| axis.extent.clone()).collect();
    if outer.iter().any(|extent| extent.is(0)) {
        return Ok(None);
    }
    let lanes = Lanes { extents: outer, ..Lanes::default() };
    let n_outer = kernel.outer.len();
    let mut lowering = Lowering { kernel, lanes, n_outer, stages: vec![], views: vec![], written: vec![], tiles: None };
    for stage in &kernel.stages {
        lowering.stage(stage)?;
    }
    Ok(Some(lowering.finish()))
}

/// What an epilogue reads and writes.
pub(crate) struct Tiles {
    /// Extents of the result: batches, rows, columns.
    pub(crate) space: Vec<Dim>,
    /// Arguments after the first.
    pub(crate) loads: Vec<Access>,
    /// Results.
    pub(crate) stores: Vec<Access>,
}

pub(crate) struct Lowering<'a> {
    kernel: &'a Kernel,
    pub(crate) lanes: Lanes,
    n_outer: usize,
    /// What each stage gives.
    pub(crate) stages: Vec<Lane>,
    /// Arguments: which parameter each sees.
    views: Vec<(u32, TensorId)>,
    /// New contents of parameters.
    written: Vec<(u32, TensorId)>,
    /// Present if this is an epilogue.
    tiles: Option<Tiles>,
}

impl<'a> Lowering<'a> {
    /// The lowering of an epilogue.
    pub(crate) fn of_tiles(kernel: &'a Kernel, tiles: Tiles) -> Lowering<'a> {
        let n_outer = kernel.outer.len();
        let (lanes, tiles) = (Lanes::default(), Some(tiles));
        Lowering { kernel, lanes, n_outer, stages: vec![], views: vec![], written: vec![], tiles }
    }

    fn stage(&mut self, stage: &Stage) -> Result<(), String> {
        let inner: Vec<Dim> = stage.inner.iter().map(|axis| axis.extent.clone()).collect();
        if inner.iter().any(|extent| extent.is(0)) {
            return Err("a row without elements".into());
        }
        self.lanes.extents.truncate(self.n_outer);
        self.lanes.extents.extend(inner);
        match &stage.anchor {
            Anchor::Pointwise => self.pointwise(stage)?,
            Anchor::Reduce(function) => {
                let body = self.body(stage)?;
                let root = body.last().ok_or("a stage without a body")?;
                let result = self.reduce(*function, root)?;
                for store in &stage.stores {
                    self.store(store, &result, self.n_outer)?;
                }
                self.stages.push(result);
            }
            Anchor::Op { op, .. } => return Err(format!("`{}`", op.name())),
        }
        Ok(())
    }

    pub(crate) fn pointwise(&mut self, stage: &Stage) -> Result<(), String> {
        let body = self.body(stage)?;
        for store in &stage.stores {
            self.store(store, &body[store.value as usize], self.lanes.extents.len())?;
        }
        self.stages.push(body.last().cloned().ok_or("a stage without a body")?);
        Ok(())
    }

    fn body(&mut self, stage: &Stage) -> Result<Vec<Lane>, String> {
        let mut body: Vec<Lane> = Vec::with_capacity(stage.body.len());
        for expr in &stage.body {
            let lane = self.expr(expr, &body)?;
            body.push(lane);
        }
        Ok(body)
    }

    fn expr(&mut self, expr: &Expr, body: &[Lane]) -> Result<Lane, String> {
        match expr {
            Expr::Const(dtype, bits) => Ok(Lane::Number(Number { dtype: *dtype, bits: *bits })),
            Expr::Index(index) => self.index(index),
            Expr::Load(load) => self.load(load, body),
            Expr::Stage(stage) => Ok(self.stages[*stage as usize].clone()),
            Expr::Apply(op, args) => {
                let args: Vec<Lane> = args.iter().map(|&i| body[i as usize].clone()).collect();
                scalar::apply(&mut self.lanes, *op, &args)
            }
            Expr::Cast(to, value) => scalar::cast(&mut self.lanes, &body[*value as usize], *to),
        }
    }

    fn index(&mut self, index: &Index) -> Result<Lane, String> {
        if self.tiles.is_some() && index.as_constant().is_none() {
            return Err("a contraction whose epilogue depends on the place".into());
        }
        let affine = Affine::of_index(index, self.lanes.extents.len())?;
        let mut sum = self.number(&affine.offset);
        for (axis, coefficient) in affine.coefficients.iter().enumerate().filter(|(_, c)| !c.is(0)) {
            let axis = self.lanes.arange(axis);
            let factor = self.number(coefficient);
            let term = scalar::apply(&mut self.lanes, ic_ir::ScalarOp::Mul, &[axis, factor])?;
            sum = scalar::apply(&mut self.lanes, ic_ir::ScalarOp::Add, &[sum, term])?;
        }
        Ok(sum)
    }

    /// An extent as an i64.
    fn number(&mut self, dim: &Dim) -> Lane {
        match dim.as_const() {
            Some(value) => Lane::Number(Number::i64(value)),
            None => self.lanes.extent(dim, DType::I64),
        }
    }

    /// The elements of a parameter.
    fn param(&self, param: u32) -> (Dim, DType) {
        let param = &self.kernel.params[param as usize];
        (param.shape.iter().cloned().product(), param.dtype)
    }

    /// The argument that sees a parameter with this shape.
    fn argument(&mut self, param: u32, shape: Vec<Dim>) -> TensorId {
        let seen = self.views.iter().find(|(p, id)| *p == param && self.lanes.function.ty(*id).shape == shape);
        if let Some((_, id)) = seen {
            return *id;
        }
        let id = self.lanes.function.argument(self.kernel.params[param as usize].dtype, shape);
        self.views.push((param, id));
        id
    }

    fn load(&mut self, load: &Load, body: &[Lane]) -> Result<Lane, String> {
        if !load.gathered.is_empty() {
            return Err("a load whose index is data".into());
        }
        if self.tiles.is_some() {
            return self.load_tile(load);
        }
        let space = self.lanes.extents.clone();
        let region = Region::new(&load.bounds, &space)?;
        let otherwise = load.otherwise.map(|value| body[value as usize].clone());
        if let Some(other) = otherwise.as_ref().filter(|_| region.is_empty()) {
            return Ok(other.clone());
        }
        let (len, dtype) = self.param(load.param);
        let affine = Affine::of_element(&load.indices, &self.kernel.params[load.param as usize].shape, space.len())?;
        let view = View::new(len, &affine, &region, &space)?;
        if view.axes.is_empty() && view.has_unit() {
            return Err("a load of one element of several".into());
        }
        let mut id = self.argument(load.param, view.shape.clone());
        let function = &mut self.lanes.function;
        if !view.is_whole() {
            id = function.push(TensorOp::Slice(id, view.starts.clone()), dtype, view.extents.clone());
        }
        let axes = view.sorted_axes();
        let shape: Vec<Dim> = axes.iter().map(|&axis| region.extents[axis].clone()).collect();
        if let Some(permutation) = view.sorting() {
            id = function.push(TensorOp::Transpose(id, permutation), dtype, shape);
        }
        let lane = Lane::Tensor { id, axes };
        match otherwise.filter(|_| region.extents != space) {
            Some(other) => self.padded(&lane, &region, &other),
            None => Ok(lane),
        }
    }

    /// A tile of a parameter.
    fn load_tile(&mut self, load: &Load) -> Result<Lane, String> {
        if !load.bounds.is_empty() {
            return Err("a contraction whose epilogue reads a padded tensor".into());
        }
        let (_, dtype) = self.param(load.param);
        let shape = &self.kernel.params[load.param as usize].shape;
        let mut affine = Affine::of_element(&load.indices, shape, self.lanes.extents.len())?;
        let tiles = self.tiles.as_mut().ok_or("a tile outside of an epilogue")?;
        let access = access(load.param, &mut affine, &tiles.space)?;
        let rank = tiles.space.len();
        let spanned = |axis: &usize| !affine.coefficients[*axis].is(0);
        let axes: Vec<usize> = (rank - 2..rank).filter(spanned).collect();
        let shape: Vec<Dim> = axes.iter().map(|&axis| self.lanes.extents[axis].clone()).collect();
        let position = match tiles.loads.iter().position(|other| *other == access) {
            Some(position) => position,
            None => {
                tiles.loads.push(access);
                self.lanes.function.argument(dtype, shape.clone());
                tiles.loads.len() - 1
            }
        };
        let id = self.lanes.function.push(TensorOp::Argument(position as u32 + 1), dtype, shape);
        Ok(Lane::Tensor { id, axes })
    }

    /// Stores a tile of the result.
    pub(crate) fn store_tile(&mut self, param: u32, mut affine: Affine, value: &Lane) -> Result<(), String> {
        let tiles = self.tiles.as_mut().ok_or("a tile outside of an epilogue")?;
        tiles.stores.push(access(param, &mut affine, &tiles.space)?);
        let rank = self.lanes.extents.len();
        let id = self.lanes.span(value, &[rank - 2, rank - 1]);
        self.lanes.function.results.push(id);
        Ok(())
    }

    /// What an epilogue has become.
    pub(crate) fn into_tiles(self) -> (Function, Tiles) {
        let mut function = self.lanes.function;
        function.prune();
        (function, self.tiles.unwrap_or(Tiles { space: vec![], loads: vec![], stores: vec![] }))
    }

    /// `other` with `lane` in its place within `region`.
    fn padded(&mut self, lane: &Lane, region: &Region, other: &Lane) -> Result<Lane, String> {
        let space = &self.lanes.extents;
        let spans = |lane: &Lane, axis: &usize| matches!(lane, Lane::Tensor { axes, .. } if axes.contains(axis));
        let wanted = |axis: &usize| {
            !space[*axis].is(1) && (region.extents[*axis] != space[*axis] || spans(lane, axis) || spans(other, axis))
        };
        let axes: Vec<usize> = (0..space.len()).filter(wanted).collect();
        let of = |list: &[Dim]| axes.iter().map(|&axis| list[axis].clone()).collect::<Vec<_>>();
        let (shape, starts) = (of(&region.extents), of(&region.starts));
        check_insertion(&of(space), &shape)?;
        let piece = self.lanes.span_shape(lane, &axes, shape);
        let base = self.lanes.span(other, &axes);
        let dtype = self.lanes.dtype(lane);
        Ok(self.lanes.push(TensorOp::Insert { base, piece, starts }, dtype, axes))
    }

    fn reduce(&mut self, function: ReduceFn, root: &Lane) -> Result<Lane, String> {
        let dtype = self.lanes.dtype(root);
        let fold = match function {
            ReduceFn::Sum | ReduceFn::Mean => FoldFn::Add,
            ReduceFn::Prod => FoldFn::Mul,
            ReduceFn::Max | ReduceFn::Any => FoldFn::Max,
            ReduceFn::Min | ReduceFn::All => FoldFn::Min,
        };
        if dtype == DType::Bool {
            // The vector unit has no folds of bits.
            let wide = self.lanes.cast(root, DType::F32);
            let result = self.lanes.fold(fold, &wide, self.n_outer);
            return scalar::cast(&mut self.lanes, &result, DType::Bool);
        }
        let result = self.lanes.fold(fold, root, self.n_outer);
        if function != ReduceFn::Mean {
            return Ok(result);
        }
        let count: Dim = self.lanes.extents[self.n_outer..].iter().cloned().product();
        let count = match count.as_const() {
            Some(count) => Lane::Number(scalar::number(dtype, count as f64)?),
            None => self.lanes.extent(&count, dtype),
        };
        scalar::apply(&mut self.lanes, ic_ir::ScalarOp::Div, &[result, count])
    }

    /// Stores a value over the first `n_axes` axes.
    fn store(&mut self, store: &Store, value: &Lane, n_axes: usize) -> Result<(), String> {
        if self.tiles.is_some() {
            let shape = &self.kernel.params[store.param as usize].shape;
            let affine = Affine::of_element(&store.indices, shape, n_axes)?;
            return if store.bounds.is_empty() {
                self.store_tile(store.param, affine, value)
            } else {
                Err("a contraction whose epilogue stores a part".into())
            };
        }
        let space = self.lanes.extents[..n_axes].to_vec();
        let region = Region::new(&store.bounds, &space)?;
        if region.is_empty() {
            return Ok(());
        }
        let (len, dtype) = self.param(store.param);
        let affine = Affine::of_element(&store.indices, &self.kernel.params[store.param as usize].shape, n_axes)?;
        let view = View::new(len, &affine, &region, &space)?;
        if view.has_unit() {
            return Err("a store of every so many elements".into());
        }
        let axes = view.sorted_axes();
        if (0..n_axes).any(|axis| !space[axis].is(1) && !axes.contains(&axis)) {
            return Err("several stores to one element".into());
        }
        let mut id = self.lanes.span(value, &axes);
        let function = &mut self.lanes.function;
        if region.extents != space {
            let of = |list: &[Dim]| axes.iter().map(|&axis| list[axis].clone()).collect::<Vec<_>>();
            id = function.push(TensorOp::Slice(id, of(&region.starts)), dtype, of(&region.extents));
        }
        if view.sorting().is_some() {
            let position = |axis: &usize| axes.iter().position(|a| a == axis).unwrap_or(0);
            let permutation = view.axes.iter().map(position).collect();
            id = function.push(TensorOp::Transpose(id, permutation), dtype, view.extents.clone());
        }
        if !view.is_whole() {
            check_insertion(&view.shape, &view.extents)?;
            let base = self.content(store.param, &view.shape)?;
            let op = TensorOp::Insert { base, piece: id, starts: view.starts };
            id = self.lanes.function.push(op, dtype, view.shape);
        }
        self.written.retain(|(param, _)| *param != store.param);
        self.written.push((store.param, id));
        Ok(())
    }

    /// What a parameter holds so far.
    fn content(&mut self, param: u32, shape: &[Dim]) -> Result<TensorId, String> {
        match self.written.iter().find(|(p, _)| *p == param) {
            Some((_, id)) if self.lanes.function.ty(*id).shape == shape => Ok(*id),
            Some(_) => Err("stores to one buffer in two shapes".into()),
            None => Ok(self.argument(param, shape.to_vec())),
        }
    }

    fn finish(mut self) -> VectorKernel {
        self.written.sort_unstable();
        let mut function = self.lanes.function;
        function.results = self.written.iter().map(|(_, id)| *id).collect();
        function.prune();
        VectorKernel {
            function,
            arguments: self.views.iter().map(|(param, _)| *param).collect(),
            results: self.written.iter().map(|(param, _)| *param).collect(),
        }
    }
}

/// Fails for insertions along an axis of symbolic extent, which the vendor's compiler does not take.
fn check_insertion(base: &[Dim], piece: &[Dim]) -> Result<(), String> {
    let is_open = |(a, b): &(&Dim, &Dim)| a != b && (a.as_const().is_none() || b.as_const().is_none());
    match base.iter().zip(piece).find(is_open) {
        Some((whole, _)) => Err(format!("a part of an axis whose extent `{whole}` is symbolic")),
        None => Ok(()),
    }
}

/// An access of matrices over batches, rows and columns of `space`.
fn access(param: u32, affine: &mut Affine, space: &[Dim]) -> Result<Access, String> {
    if let Some(axis) = super::contract::single_row_axis(space) {
        affine.coefficients[space.len() - 2] = affine.coefficients[axis].clone();
    }
    let natural = |dim: &Dim| natural(dim, "a reversed axis of an epilogue");
    let strides = affine.coefficients.iter().map(natural).collect::<Result<Vec<_>, _>>()?;
    let [batch @ .., row, column] = strides.as_slice() else { return Err("an epilogue without rows".into()) };
    let offset = natural(&affine.offset)?;
    Ok(Access { param, offset, batch: batch.to_vec(), row: row.clone(), column: column.clone() })
}
