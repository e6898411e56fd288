//! The text of a contraction: one tile of the result per block.
//!
//! Operands are buffers; a tile is copied into local memory, zero where the matrix ends, and becomes a tensor. Extents
//! and strides that are not known follow the buffers as integers. The six integers at the end are the grid's extents and
//! the block's place in it.

use super::{Printer, Spelling, element, fixed, list, tensor_text};
use crate::ascend::contract::{Access, CubeKernel};
use crate::ascend::tree::{Number, TensorType};
use ic_types::{DType, Dim};

/// One axis of a tile.
struct Axis {
    extent: usize,
    stride: Dim,
    /// The SSA name of how much of it is within the matrix; `None` if always all.
    valid: Option<String>,
}

/// The text of a contraction with its epilogue.
pub(crate) fn cube_function(cube: &CubeKernel, dtypes: &[DType], name: &str, spelling: Spelling) -> String {
    let mut printer = Printer::new(&cube.epilogue, spelling, "  ");
    let scalars = printer.scalars(&cube.symbolic_extents());
    let block = Block::new(&mut printer, cube);
    let sums = block.product(&mut printer);
    let mut arguments = vec![sums];
    for (i, access) in cube.loads.iter().enumerate() {
        let ty = &cube.epilogue.arguments[i + 1];
        arguments.push(block.load(&mut printer, access, ty));
    }
    printer.body(&|i| arguments[i as usize].clone());
    for (i, access) in cube.stores.iter().enumerate() {
        block.store(&mut printer, access, i);
    }
    let memrefs: Vec<String> =
        cube.params().iter().map(|p| format!("%p{p}: memref<?x{}>", element(dtypes[*p as usize]))).collect();
    let grid = ["gx", "gy", "gz", "px", "py", "pz"].map(|name| format!("%{name}: i32")).join(", ");
    let (memory, attributes) = match spelling {
        Spelling::Upstream => (String::new(), String::new()),
        Spelling::Vendor => {
            let mode = if cube.is_mixed() { "mix" } else { "aic" };
            let argument =
                |name: &str, kind: &str| format!("%{name}: memref<?xi8> {{hacc.arg_type = #hacc.arg_type<{kind}>}}, ");
            let memory = argument("lock", "sync_block_lock") + &argument("workspace", "workspace");
            let memory = if cube.is_mixed() { memory } else { String::new() };
            let attributes = format!(
                " attributes {{global_kernel = \"local\", hacc.entry, hacc.function_kind = \
                 #hacc.function_kind<DEVICE>, mix_mode = \"{mode}\"}}"
            );
            (memory, attributes)
        }
    };
    let (body, arguments) = (&printer.text, [memrefs, scalars].concat().join(", "));
    format!("func.func @{name}({memory}{arguments}, {grid}){attributes} {{\n{body}  return\n}}\n")
}

/// SSA names of where a block is.
struct Block<'a> {
    cube: &'a CubeKernel,
    row: String,
    column: String,
    batch: Vec<String>,
    rows: Option<String>,
    columns: Option<String>,
}

impl<'a> Block<'a> {
    fn new(printer: &mut Printer, cube: &'a CubeKernel) -> Block<'a> {
        let index =
            |printer: &mut Printer, name: &str| printer.define(&format!("arith.index_cast %{name} : i32 to index"));
        let (x, y) = (index(printer, "px"), index(printer, "py"));
        let tile = |i: usize| Dim::constant(cube.tile[i] as i64);
        let row = printer.affine(&[(x, tile(0))], &Dim::default());
        let column = printer.affine(&[(y, tile(1))], &Dim::default());
        let mut batch = Vec::new();
        if !cube.batch.is_empty() {
            let mut rest = index(printer, "pz");
            for (i, extent) in cube.batch.iter().enumerate().rev() {
                if i == 0 {
                    batch.push(rest.clone());
                } else {
                    let extent = printer.index(extent);
                    batch.push(printer.define(&format!("arith.remsi {rest}, {extent} : index")));
                    rest = printer.define(&format!("arith.divsi {rest}, {extent} : index"));
                }
            }
            batch.reverse();
        }
        let rows = printer.valid(&cube.m, &row, cube.tile[0]);
        let columns = printer.valid(&cube.n, &column, cube.tile[1]);
        Block { cube, row, column, batch, rows, columns }
    }

    /// The terms of the block's batch in an access.
    fn batches(&self, access: &Access) -> Vec<(String, Dim)> {
        self.batch.iter().cloned().zip(access.batch.iter().cloned()).collect()
    }

    /// The loop along K; gives the name of the sums.
    fn product(&self, printer: &mut Printer) -> String {
        let (cube, [tm, tn, tk]) = (self.cube, self.cube.tile);
        let sums = tile_type(DType::F32, [tm, tn]);
        let zero = printer.filled(Number::f32(0.0), &sums);
        let [first, step] = [0, tk].map(|value| printer.index(&Dim::constant(value as i64)));
        let end = printer.index(&cube.k);
        let sums = tensor_text(&sums);
        // Numbers that the loop needs are defined before it, so that later ones are not defined inside.
        let zero_element = printer.number(super::identity(super::FoldFn::Add, cube.dtype));
        printer.line(&format!(
            "%sums = scf.for %k = {first} to {end} step {step} iter_args(%sum = {zero}) -> ({sums}) {{"
        ));
        printer.indent = "    ";
        let known = printer.indices.len();
        let depth = printer.valid(&cube.k, "%k", tk);
        let place =
            [vec![(self.row.clone(), cube.a.row.clone()), ("%k".into(), cube.a.column.clone())], self.batches(&cube.a)];
        let rows = Axis { extent: tm, stride: cube.a.row.clone(), valid: self.rows.clone() };
        let inner = Axis { extent: tk, stride: cube.a.column.clone(), valid: depth.clone() };
        let a = printer.matrix(&cube.a, &place.concat(), [rows, inner], cube.dtype, &zero_element);
        let own = vec![("%k".into(), cube.b.row.clone()), (self.column.clone(), cube.b.column.clone())];
        let place = [own, self.batches(&cube.b)];
        let inner = Axis { extent: tk, stride: cube.b.row.clone(), valid: depth };
        let columns = Axis { extent: tn, stride: cube.b.column.clone(), valid: self.columns.clone() };
        let b = printer.matrix(&cube.b, &place.concat(), [inner, columns], cube.dtype, &zero_element);
        let (left, right) = (tile_type(cube.dtype, [tm, tk]), tile_type(cube.dtype, [tk, tn]));
        let (left, right) = (tensor_text(&left), tensor_text(&right));
        printer.line(&format!("%next = linalg.matmul ins({a}, {b} : {left}, {right}) outs(%sum : {sums}) -> {sums}"));
        printer.line(&format!("scf.yield %next : {sums}"));
        printer.indices.truncate(known);
        printer.indent = "  ";
        printer.line("}");
        "%sums".into()
    }

    /// The first element of the block's tile.
    fn offset(&self, printer: &mut Printer, access: &Access) -> String {
        let terms = [(self.row.clone(), access.row.clone()), (self.column.clone(), access.column.clone())];
        printer.affine(&[terms.to_vec(), self.batches(access)].concat(), &access.offset)
    }

    /// A tile of an operand of the epilogue.
    fn load(&self, printer: &mut Printer, access: &Access, ty: &TensorType) -> String {
        let offset = self.offset(printer, access);
        let zero = super::identity(super::FoldFn::Add, ty.dtype);
        let rows = Axis { extent: self.cube.tile[0], stride: access.row.clone(), valid: self.rows.clone() };
        let columns = Axis { extent: self.cube.tile[1], stride: access.column.clone(), valid: self.columns.clone() };
        let axes: Vec<Axis> = [rows, columns].into_iter().filter(|axis| !axis.stride.is(0)).collect();
        if axes.is_empty() {
            let dtype = element(ty.dtype);
            let value = printer.define(&format!("memref.load %p{}[{offset}] : memref<?x{dtype}>", access.param));
            return printer.define(&format!("tensor.from_elements {value} : tensor<{dtype}>"));
        }
        let zero = if axes.iter().any(|axis| axis.valid.is_some()) { printer.number(zero) } else { String::new() };
        printer.tile(access.param, &offset, &axes, ty.dtype, &zero)
    }

    fn store(&self, printer: &mut Printer, access: &Access, result: usize) {
        let offset = self.offset(printer, access);
        let id = self.cube.epilogue.results[result];
        let (ty, value) = (self.cube.epilogue.ty(id).clone(), printer.name(id).to_string());
        let axes = [
            Axis { extent: self.cube.tile[0], stride: access.row.clone(), valid: self.rows.clone() },
            Axis { extent: self.cube.tile[1], stride: access.column.clone(), valid: self.columns.clone() },
        ];
        printer.store_tile(access.param, &offset, &axes, &value, &ty);
    }
}

impl Printer<'_> {
    /// `constant + Σ name · factor`.
    fn affine(&mut self, terms: &[(String, Dim)], constant: &Dim) -> String {
        let mut sum: Option<String> = None;
        for (name, factor) in terms.iter().filter(|(_, factor)| !factor.is(0)) {
            let factor = self.index(factor);
            let term = self.define(&format!("arith.muli {name}, {factor} : index"));
            sum = Some(match sum {
                Some(sum) => self.define(&format!("arith.addi {sum}, {term} : index")),
                None => term,
            });
        }
        match sum {
            Some(sum) if constant.is(0) => sum,
            Some(sum) => {
                let constant = self.index(constant);
                self.define(&format!("arith.addi {sum}, {constant} : index"))
            }
            None => self.index(constant),
        }
    }

    /// How much of a tile that starts at `start` is within `extent`.
    fn valid(&mut self, extent: &Dim, start: &str, tile: usize) -> Option<String> {
        let tile = Dim::constant(tile as i64);
        if extent.exact_div(&tile).is_some() {
            return None;
        }
        let (extent, tile) = (self.index(extent), self.index(&tile));
        let rest = self.define(&format!("arith.subi {extent}, {start} : index"));
        Some(self.define(&format!("arith.minsi {rest}, {tile} : index")))
    }

    /// A tile of a matrix; one whose columns are contiguous is transposed after it is read.
    fn matrix(
        &mut self,
        access: &Access,
        place: &[(String, Dim)],
        axes: [Axis; 2],
        dtype: DType,
        zero: &str,
    ) -> String {
        let offset = self.affine(place, &access.offset);
        let [rows, columns] = axes;
        if access.column.is(1) || !access.row.is(1) {
            return self.tile(access.param, &offset, &[rows, columns], dtype, zero);
        }
        let from = tensor_text(&tile_type(dtype, [columns.extent, rows.extent]));
        let ty = tile_type(dtype, [rows.extent, columns.extent]);
        let tile = self.tile(access.param, &offset, &[columns, rows], dtype, zero);
        let (empty, to) = (self.empty(&ty), tensor_text(&ty));
        self.define(&format!("linalg.transpose ins({tile} : {from}) outs({empty} : {to}) permutation = [1, 0]"))
    }

    /// The buffer of a parameter from `offset` on as a strided tile: its name and type.
    fn view(&mut self, param: u32, offset: &str, axes: &[Axis], dtype: DType) -> (String, String) {
        let dtype = element(dtype);
        let extents: Vec<usize> = axes.iter().map(|axis| axis.extent).collect();
        let strides: Vec<Dim> = axes.iter().map(|axis| axis.stride.clone()).collect();
        let shape: String = extents.iter().map(|extent| format!("{extent}x")).collect();
        let ty = format!("memref<{shape}{dtype}, {}>", strided(axes));
        let strides = self.extent_list(&strides);
        let name = self.define(&format!(
            "memref.reinterpret_cast %p{param} to offset: [{offset}], sizes: [{}], strides: [{strides}] : memref<?x{dtype}> \
             to {ty}",
            list(&extents),
        ));
        (name, ty)
    }

    /// The valid part of `memory`, which has type `ty`; `layout` follows the shape in the part's type.
    fn part(&mut self, (memory, ty): (&str, &str), axes: &[Axis], dtype: DType, layout: &str) -> (String, String) {
        if axes.iter().all(|axis| axis.valid.is_none()) {
            return (memory.into(), ty.into());
        }
        let extents: Vec<String> =
            axes.iter().map(|axis| axis.valid.clone().unwrap_or_else(|| axis.extent.to_string())).collect();
        let shape: String = axes
            .iter()
            .map(|axis| if axis.valid.is_some() { "?x".into() } else { format!("{}x", axis.extent) })
            .collect();
        let part = format!("memref<{shape}{}, {layout}>", element(dtype));
        let (zeros, ones) = (list(&vec![0; axes.len()]), list(&vec![1; axes.len()]));
        let text = format!("memref.subview {memory}[{zeros}] [{}] [{ones}] : {ty} to {part}", extents.join(", "));
        (self.define(&text), part)
    }

    /// A tile as a tensor, zero where it is not valid.
    fn tile(&mut self, param: u32, offset: &str, axes: &[Axis], dtype: DType, zero: &str) -> String {
        let (view, view_ty) = self.view(param, offset, axes, dtype);
        let shape: String = axes.iter().map(|axis| format!("{}x", axis.extent)).collect();
        let local_ty = format!("memref<{shape}{}>", element(dtype));
        let local = self.define(&format!("memref.alloc() : {local_ty}"));
        if axes.iter().any(|axis| axis.valid.is_some()) {
            self.line(&format!("linalg.fill ins({zero} : {}) outs({local} : {local_ty})", element(dtype)));
        }
        let dense: Vec<usize> =
            (0..axes.len()).map(|i| axes[i + 1..].iter().map(|axis| axis.extent).product()).collect();
        let packed = format!("strided<[{}]>", list(&dense));
        let (from, from_ty) = self.part((&view, &view_ty), axes, dtype, &strided(axes));
        let (to, to_ty) = self.part((&local, &local_ty), axes, dtype, &packed);
        self.line(&format!("memref.copy {from}, {to} : {from_ty} to {to_ty}"));
        let to = match self.spelling {
            Spelling::Vendor => String::new(),
            Spelling::Upstream => format!(" to tensor<{shape}{}>", element(dtype)),
        };
        self.define(&format!("bufferization.to_tensor {local} restrict writable : {local_ty}{to}"))
    }

    fn store_tile(&mut self, param: u32, offset: &str, axes: &[Axis], value: &str, ty: &TensorType) {
        let (view, view_ty) = self.view(param, offset, axes, ty.dtype);
        let (to, to_ty) = self.part((&view, &view_ty), axes, ty.dtype, &strided(axes));
        let (mut value, mut value_ty) = (value.to_string(), tensor_text(ty));
        if axes.iter().any(|axis| axis.valid.is_some()) {
            let extents: Vec<String> =
                axes.iter().map(|axis| axis.valid.clone().unwrap_or_else(|| axis.extent.to_string())).collect();
            let shape: String = axes
                .iter()
                .map(|axis| if axis.valid.is_some() { "?x".into() } else { format!("{}x", axis.extent) })
                .collect();
            let part = format!("tensor<{shape}{}>", element(ty.dtype));
            let (zeros, ones) = (list(&vec![0; axes.len()]), list(&vec![1; axes.len()]));
            value = self.define(&format!(
                "tensor.extract_slice {value}[{zeros}] [{}] [{ones}] : {value_ty} to {part}",
                extents.join(", ")
            ));
            value_ty = part;
        }
        self.line(&format!(
            "bufferization.materialize_in_destination {value} in writable {to} : ({value_ty}, {to_ty}) -> ()"
        ));
    }
}

/// The layout of a tile in its buffer.
fn strided(axes: &[Axis]) -> String {
    let strides: Vec<String> = axes.iter().map(|axis| fixed(&axis.stride)).collect();
    format!("strided<[{}], offset: ?>", strides.join(", "))
}

fn tile_type(dtype: DType, extents: [usize; 2]) -> TensorType {
    TensorType { dtype, shape: extents.map(|extent| Dim::constant(extent as i64)).to_vec() }
}
