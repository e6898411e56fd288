//! MLIR text of functions of tensors, in two spellings.

mod contraction;
mod elementwise;
mod types;

use super::functions::FoldFn;
use super::tree::{Function, Number, Operand, TensorId, TensorOp, TensorType};
pub(crate) use contraction::cube_function;
use ic_types::{DType, Dim};
pub(crate) use types::{element, fixed, number_text, tensor_text};

/// How MLIR is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    /// The vendor's named ops, as `bishengir-compile` takes them.
    Vendor,
    /// Upstream MLIR 22: elementwise operations are `linalg.generic`.
    Upstream,
}

/// Writes values of a function as the body of one.
pub(crate) struct Printer<'a> {
    function: &'a Function,
    spelling: Spelling,
    /// The SSA name of each value that is already defined.
    names: Vec<String>,
    /// Numbers that have been defined.
    numbers: Vec<(Number, String)>,
    /// Indices that have been defined, symbolic extents first.
    indices: Vec<(Dim, String)>,
    pub(crate) text: String,
    indent: &'static str,
    n_names: usize,
}

/// The text of a vector kernel: a function from tensors to tensors.
pub(crate) fn vector_function(function: &Function, name: &str, spelling: Spelling) -> String {
    let mut printer = Printer::new(function, spelling, "  ");
    let arguments: Vec<String> =
        function.arguments.iter().enumerate().map(|(i, ty)| format!("%a{i}: {}", tensor_text(ty))).collect();
    let names = (0..arguments.len()).map(|i| format!("%a{i}")).collect::<Vec<_>>();
    let scalars = printer.extents(function, &names);
    printer.body(&|i| names[i as usize].clone());
    let results: Vec<&str> = function.results.iter().map(|&id| printer.names[id as usize].as_str()).collect();
    let types: Vec<String> = function.results.iter().map(|&id| tensor_text(function.ty(id))).collect();
    let types = types.join(", ");
    let entry = match spelling {
        Spelling::Vendor => " attributes {hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>}",
        Spelling::Upstream => "",
    };
    format!(
        "func.func @{name}({}) -> ({types}){entry} {{\n{}  return {} : {types}\n}}\n",
        [arguments, scalars].concat().join(", "),
        printer.text,
        results.join(", "),
    )
}

impl<'a> Printer<'a> {
    pub(crate) fn new(function: &'a Function, spelling: Spelling, indent: &'static str) -> Printer<'a> {
        Printer {
            function,
            spelling,
            names: Vec::new(),
            numbers: Vec::new(),
            indices: Vec::new(),
            text: String::new(),
            indent,
            n_names: 0,
        }
    }

    /// The SSA name of a value.
    pub(crate) fn name(&self, id: TensorId) -> &str {
        &self.names[id as usize]
    }

    /// Defines symbolic extents: those of the arguments' axes, others from scalar arguments, which it gives.
    fn extents(&mut self, function: &Function, names: &[String]) -> Vec<String> {
        for dim in function.symbolic_extents() {
            let Some((argument, axis)) = function.axis_of(&dim) else { continue };
            let (name, ty) = (&names[argument], tensor_text(&function.arguments[argument]));
            let axis = self.index(&Dim::constant(axis as i64));
            let defined = self.define(&format!("tensor.dim {name}, {axis} : {ty}"));
            self.indices.push((dim, defined));
        }
        self.scalars(&function.scalar_extents())
    }

    /// Defines extents that are scalar arguments; gives those.
    fn scalars(&mut self, dims: &[Dim]) -> Vec<String> {
        for (i, dim) in dims.iter().enumerate() {
            let defined = self.define(&format!("arith.index_cast %d{i} : i32 to index"));
            self.indices.push((dim.clone(), defined));
        }
        (0..dims.len()).map(|i| format!("%d{i}: i32")).collect()
    }

    /// The SSA name of an index.
    fn index(&mut self, dim: &Dim) -> String {
        if let Some((_, name)) = self.indices.iter().find(|(known, _)| known == dim) {
            return name.clone();
        }
        let name = self.define(&format!("arith.constant {dim} : index"));
        self.indices.push((dim.clone(), name.clone()));
        name
    }

    /// A number, or the SSA name of one that is not known.
    fn extent(&mut self, dim: &Dim) -> String {
        dim.as_const().map_or_else(|| self.index(dim), |value| value.to_string())
    }

    /// [`Printer::extent`] of each, in a list.
    fn extent_list(&mut self, dims: &[Dim]) -> String {
        dims.iter().map(|dim| self.extent(dim)).collect::<Vec<_>>().join(", ")
    }

    /// `[starts] [extents] [1, …]`.
    fn place(&mut self, starts: &[Dim], extents: &[Dim]) -> String {
        let (first, extents) = (self.extent_list(starts), self.extent_list(extents));
        format!("[{first}] [{extents}] [{}]", list(&vec![1; starts.len()]))
    }

    /// Writes all values; `argument` names the arguments.
    pub(crate) fn body(&mut self, argument: &dyn Fn(u32) -> String) {
        for value in &self.function.values {
            let name = match &value.op {
                TensorOp::Argument(i) => argument(*i),
                op => self.value(op, &value.ty),
            };
            self.names.push(name);
        }
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(self.indent);
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn fresh(&mut self) -> String {
        self.n_names += 1;
        format!("%v{}", self.n_names - 1)
    }

    /// Writes `%name = text` and gives the name.
    fn define(&mut self, text: &str) -> String {
        let name = self.fresh();
        self.line(&format!("{name} = {text}"));
        name
    }

    /// The SSA name of a number.
    fn number(&mut self, number: Number) -> String {
        if let Some((_, name)) = self.numbers.iter().find(|(n, _)| *n == number) {
            return name.clone();
        }
        let name = self.define(&format!("arith.constant {}", number_text(number)));
        self.numbers.push((number, name.clone()));
        name
    }

    fn empty(&mut self, ty: &TensorType) -> String {
        let extents: Vec<Dim> = ty.shape.iter().filter(|dim| dim.as_const().is_none()).cloned().collect();
        let extents = self.extent_list(&extents);
        self.define(&format!("tensor.empty({extents}) : {}", tensor_text(ty)))
    }

    fn filled(&mut self, number: Number, ty: &TensorType) -> String {
        let number = self.number(number);
        self.filled_with(&number, ty)
    }

    /// A tensor of one number, given by its SSA name.
    fn filled_with(&mut self, number: &str, ty: &TensorType) -> String {
        let (empty, text) = (self.empty(ty), tensor_text(ty));
        let dtype = element(ty.dtype);
        self.define(&format!("linalg.fill ins({number} : {dtype}) outs({empty} : {text}) -> {text}"))
    }

    fn value(&mut self, op: &TensorOp, ty: &TensorType) -> String {
        let text = tensor_text(ty);
        match op {
            TensorOp::Argument(_) => String::new(),
            TensorOp::Fill(number) => self.filled(*number, ty),
            TensorOp::Extent(dim) => {
                let index = self.index(dim);
                let mut number = self.define(&format!("arith.index_cast {index} : index to i64"));
                if ty.dtype.is_float() {
                    number = self.define(&format!("arith.sitofp {number} : i64 to {}", element(ty.dtype)));
                }
                self.filled_with(&number, ty)
            }
            TensorOp::Fold(function, x, axes) => self.fold(*function, *x, axes, ty),
            TensorOp::Broadcast(x, axes) => {
                let (empty, from) = (self.empty(ty), tensor_text(self.function.ty(*x)));
                let (name, axes) = (self.name(*x), list(axes));
                self.define(&format!(
                    "linalg.broadcast ins({name} : {from}) outs({empty} : {text}) dimensions = [{axes}]"
                ))
            }
            TensorOp::Transpose(x, permutation) => {
                let (empty, from) = (self.empty(ty), tensor_text(self.function.ty(*x)));
                let (name, permutation) = (self.name(*x), list(permutation));
                self.define(&format!(
                    "linalg.transpose ins({name} : {from}) outs({empty} : {text}) permutation = [{permutation}]"
                ))
            }
            TensorOp::Slice(x, starts) => {
                let mut extents = ty.shape.clone();
                extents.resize(starts.len(), Dim::constant(1));
                let place = self.place(starts, &extents);
                let (name, from) = (self.name(*x), tensor_text(self.function.ty(*x)));
                self.define(&format!("tensor.extract_slice {name}{place} : {from} to {text}"))
            }
            TensorOp::Insert { base, piece, starts } => {
                let from = self.function.ty(*piece);
                let (place, from) = (self.place(starts, &from.shape), tensor_text(from));
                let (base, piece) = (self.name(*base), self.name(*piece));
                self.define(&format!("tensor.insert_slice {piece} into {base}{place} : {from} into {text}"))
            }
            op => self.elementwise(op, ty),
        }
    }

    fn fold(&mut self, function: FoldFn, x: TensorId, axes: &[usize], ty: &TensorType) -> String {
        let init = self.filled(identity(function, ty.dtype), ty);
        let from = tensor_text(self.function.ty(x));
        let binary = function.binary();
        let op = if ty.dtype.is_float() { binary.on_floats() } else { binary.on_ints() };
        let (name, to, axes) = (self.name(x), tensor_text(ty), list(axes));
        self.define(&format!("linalg.reduce {{ {op} }} ins({name} : {from}) outs({init} : {to}) dimensions = [{axes}]"))
    }

    /// The SSA name of an elementwise operand, and its type.
    fn operand(&mut self, operand: Operand) -> (String, String) {
        match operand {
            Operand::Tensor(id) => (self.name(id).to_string(), tensor_text(self.function.ty(id))),
            Operand::Number(number) => (self.number(number), element(number.dtype).to_string()),
        }
    }
}

pub(crate) fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a fold starts from.
pub(crate) fn identity(function: FoldFn, dtype: DType) -> Number {
    let float = |value: f32| match dtype {
        DType::F16 => u128::from(ic_types::f32_to_f16(value)),
        DType::BF16 => u128::from(ic_types::f32_to_bf16(value)),
        _ => u128::from(value.to_bits()),
    };
    let int = |wide: i64, narrow: i32| match dtype {
        DType::I32 => u128::from(narrow as u32),
        _ => u128::from(wide as u64),
    };
    let bits = match (function, dtype.is_float()) {
        (FoldFn::Add, true) => float(0.0),
        (FoldFn::Mul, true) => float(1.0),
        (FoldFn::Max, true) => float(f32::NEG_INFINITY),
        (FoldFn::Min, true) => float(f32::INFINITY),
        (FoldFn::Add, false) => 0,
        (FoldFn::Mul, false) => 1,
        (FoldFn::Max, false) => int(i64::MIN, i32::MIN),
        (FoldFn::Min, false) => int(i64::MAX, i32::MAX),
    };
    Number { dtype, bits }
}
