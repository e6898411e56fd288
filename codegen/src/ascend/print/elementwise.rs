//! Elementwise operations: named ops for the vendor, `linalg.generic` for upstream.

use super::{Printer, Spelling, element, tensor_text};
use crate::ascend::functions::UnaryFn;
use crate::ascend::scalar::number;
use crate::ascend::tree::{Operand, TensorOp, TensorType};
use ic_types::DType;

impl Printer<'_> {
    pub(super) fn elementwise(&mut self, op: &TensorOp, ty: &TensorType) -> String {
        if let TensorOp::Arange = op {
            return self.arange(ty);
        }
        let operands: Vec<Operand> = match op {
            TensorOp::Unary(_, x) | TensorOp::Cast(x) => vec![Operand::Tensor(*x)],
            TensorOp::Binary(_, a, b) | TensorOp::Compare(_, a, b) => vec![*a, *b],
            TensorOp::Select(c, a, b) => vec![Operand::Tensor(*c), *a, *b],
            _ => Vec::new(),
        };
        let dtypes: Vec<DType> = operands.iter().map(|x| self.dtype(*x)).collect();
        let named: Vec<(String, String)> = operands.iter().map(|x| self.operand(*x)).collect();
        match self.spelling {
            Spelling::Vendor => self.named(op, &named, &dtypes, ty),
            Spelling::Upstream => self.generic(op, &named, &dtypes, ty),
        }
    }

    fn dtype(&self, operand: Operand) -> DType {
        match operand {
            Operand::Tensor(id) => self.function.ty(id).dtype,
            Operand::Number(number) => number.dtype,
        }
    }

    /// `dialect.op {attribute} ins(…) outs(…) -> type`.
    fn named(&mut self, op: &TensorOp, operands: &[(String, String)], dtypes: &[DType], ty: &TensorType) -> String {
        let (dialect, kind, attribute) = match op {
            TensorOp::Unary(function, _) => {
                let (dialect, name) = function.vendor();
                (dialect, "elemwise_unary", format!("{{fun = #{dialect}.unary_fn<{name}>}} "))
            }
            TensorOp::Binary(function, ..) => {
                let (dialect, name) = function.vendor();
                (dialect, "elemwise_binary", format!("{{fun = #{dialect}.binary_fn<{name}>}} "))
            }
            TensorOp::Compare(function, ..) => {
                let (dialect, name) = function.vendor();
                (dialect, "compare", format!("{{compare_fn = #{dialect}.compare_fn<{name}>}} "))
            }
            TensorOp::Select(..) => ("hfusion", "select", String::new()),
            _ => {
                let truncates = dtypes[0].is_float() && ty.dtype.is_int();
                let mode = if truncates { "trunc" } else { "rint" };
                ("hfusion", "cast", format!("{{round_mode = #hfusion.round_mode<{mode}>}} "))
            }
        };
        let (empty, text) = (self.empty(ty), tensor_text(ty));
        let (names, types) = joined(operands);
        self.define(&format!("{dialect}.{kind} {attribute}ins({names} : {types}) outs({empty} : {text}) -> {text}"))
    }

    fn generic(&mut self, op: &TensorOp, operands: &[(String, String)], dtypes: &[DType], ty: &TensorType) -> String {
        let lines = match op {
            TensorOp::Unary(function, _) => unary_body(*function, ty.dtype),
            TensorOp::Cast(_) => vec![cast_body(dtypes[0], ty.dtype)],
            TensorOp::Binary(function, ..) => {
                let name = if ty.dtype.is_float() { function.on_floats() } else { function.on_ints() };
                vec![format!("{name} %x0, %x1 : {}", element(ty.dtype))]
            }
            TensorOp::Compare(function, ..) if dtypes[0].is_float() => {
                vec![format!("arith.cmpf {}, %x0, %x1 : {}", function.on_floats(), element(dtypes[0]))]
            }
            TensorOp::Compare(function, ..) => {
                vec![format!("arith.cmpi {}, %x0, %x1 : {}", function.on_ints(), element(dtypes[0]))]
            }
            _ => vec![format!("arith.select %x0, %x1, %x2 : {}", element(ty.dtype))],
        };
        let rank = ty.shape.len();
        let axes: Vec<String> = (0..rank).map(|i| format!("d{i}")).collect();
        let axes = axes.join(", ");
        let map = |text: &str| {
            let is_tensor = text.starts_with("tensor");
            format!("affine_map<({axes}) -> ({})>", if is_tensor { axes.as_str() } else { "" })
        };
        let maps: Vec<String> = operands.iter().map(|(_, ty)| map(ty)).chain([map("tensor")]).collect();
        let kinds = vec!["\"parallel\""; rank].join(", ");
        let (names, types) = joined(operands);
        let (empty, text) = (self.empty(ty), tensor_text(ty));
        let block: Vec<String> = dtypes.iter().enumerate().map(|(i, d)| format!("%x{i}: {}", element(*d))).collect();
        let last = lines.len() - 1;
        let body: String = lines
            .iter()
            .enumerate()
            .map(|(i, line)| {
                format!("{0}  %{1} = {line}\n", self.indent, if i == last { "r".into() } else { format!("t{i}") })
            })
            .collect();
        let (maps, block, result) = (maps.join(", "), block.join(", "), element(ty.dtype));
        self.define(&format!(
            "linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} ins({names} : {types}) \
             outs({empty} : {text}) {{\n{0}^bb0({block}, %out: {result}):\n{body}{0}  linalg.yield %r : {result}\n{0}}} \
             -> {text}",
            self.indent
        ))
    }

    fn arange(&mut self, ty: &TensorType) -> String {
        let (empty, text) = (self.empty(ty), tensor_text(ty));
        match self.spelling {
            Spelling::Vendor => {
                let start = self.define("arith.constant 0 : index");
                let step = self.define("arith.constant 1 : index");
                self.define(&format!("hfusion.arange offset[{start}] strides[{step}] outs({empty} : {text}) -> {text}"))
            }
            Spelling::Upstream => self.define(&format!(
                "linalg.generic {{indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = [\"parallel\"]}} \
                 outs({empty} : {text}) {{\n{0}^bb0(%out: i64):\n{0}  %i = linalg.index 0 : index\n{0}  %r = \
                 arith.index_cast %i : index to i64\n{0}  linalg.yield %r : i64\n{0}}} -> {text}",
                self.indent
            )),
        }
    }
}

fn joined(operands: &[(String, String)]) -> (String, String) {
    let names: Vec<&str> = operands.iter().map(|(name, _)| name.as_str()).collect();
    let types: Vec<&str> = operands.iter().map(|(_, ty)| ty.as_str()).collect();
    (names.join(", "), types.join(", "))
}

/// Operations that define `%t0`, `%t1`, … and the result from `%x0`.
fn unary_body(function: UnaryFn, dtype: DType) -> Vec<String> {
    let ty = element(dtype);
    let one = number(dtype, 1.0).map_or_else(|_| "true".into(), super::number_text);
    match function {
        UnaryFn::Reciprocal => vec![format!("arith.constant {one}"), format!("arith.divf %t0, %x0 : {ty}")],
        function if dtype.is_float() => vec![format!("{} %x0 : {ty}", function.on_floats())],
        function => vec![format!("{} %x0 : {ty}", function.on_ints())],
    }
}

fn cast_body(from: DType, to: DType) -> String {
    let op = match (from, to) {
        (DType::Bool, to) if to.is_float() => "arith.uitofp",
        (DType::Bool, _) => "arith.extui",
        (from, to) if from.is_float() && to.is_int() => "arith.fptosi",
        (from, to) if from.is_int() && to.is_float() => "arith.sitofp",
        (from, to) if from.is_float() => {
            if from.bits() < to.bits() {
                "arith.extf"
            } else {
                "arith.truncf"
            }
        }
        (from, to) if from.bits() < to.bits() => "arith.extsi",
        _ => "arith.trunci",
    };
    format!("{op} %x0 : {} to {}", element(from), element(to))
}
