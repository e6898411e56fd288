//! Symbolic dims: what a model calls its unknown extents, bound to constants where the user says so.

use super::error::{Result, invalid, unsupported};
use super::tensor::dtype;
use ic_ir::TensorType;
use ic_types::Dim;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::{TypeProto, type_proto};
use std::collections::{BTreeMap, BTreeSet};

/// The symbols of a model.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    bindings: BTreeMap<String, i64>,
    taken: BTreeSet<String>,
    /// Extents of inputs that their users fix, by name and axis.
    fixed: BTreeMap<(String, usize), i64>,
}

impl Symbols {
    /// No symbols yet; those in `bindings` will be constants.
    pub(crate) fn new(bindings: BTreeMap<String, i64>) -> Symbols {
        Symbols { bindings, ..Symbols::default() }
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.taken.iter().map(String::as_str).collect()
    }

    /// Makes sure that no fresh symbol gets a name that `ty` uses.
    pub(crate) fn reserve(&mut self, ty: &TypeProto) {
        for dim in dimensions(ty).unwrap_or_default() {
            if let Some(dimension::Value::DimParam(name)) = &dim.value
                && !is_placeholder(name)
            {
                self.taken.insert(clean(name));
            }
        }
    }

    /// Makes these extents of inputs, by name and axis, constants where they are not declared.
    pub(crate) fn fix(&mut self, fixed: BTreeMap<(String, usize), i64>) {
        self.fixed = fixed;
    }

    /// A symbol that nothing else uses, called `base` if that is free.
    pub(crate) fn fresh(&mut self, base: &str) -> Dim {
        let name = self.fresh_name(base);
        self.symbol(&name)
    }

    /// A name that nothing else uses, `base` if that is free.
    pub(crate) fn fresh_name(&mut self, base: &str) -> String {
        let base = clean(base);
        let mut name = base.clone();
        let mut n = 1;
        while !self.taken.insert(name.clone()) {
            n += 1;
            name = format!("{base}_{n}");
        }
        name
    }

    /// The type of the model's input `name`.
    ///
    /// # Errors
    /// If it is not a tensor of known rank.
    pub(crate) fn input_type(&mut self, name: &str, ty: &TypeProto) -> Result<TensorType> {
        let Some(type_proto::Value::TensorType(tensor)) = &ty.value else {
            return Err(unsupported!("input `{name}` is not a tensor"));
        };
        let dtype = dtype(tensor.elem_type)?;
        let dims = dimensions(ty).ok_or_else(|| unsupported!("input `{name}` has no declared rank"))?;
        let extents = dims.iter().enumerate().map(|(axis, dim)| self.input_dim(name, axis, dim)).collect();
        let ty = TensorType::new(dtype, extents);
        if !ty.is_plausible() {
            return Err(invalid!("input `{name}` has the impossible type {ty}"));
        }
        Ok(ty)
    }

    /// Zero, negative and nameless extents are unknown; so are expressions, which a run could not solve.
    fn input_dim(&mut self, input: &str, axis: usize, dim: &Dimension) -> Dim {
        let fixed = self.fixed.get(&(input.to_string(), axis)).copied();
        match &dim.value {
            Some(dimension::Value::DimValue(extent)) if *extent > 0 => Dim::constant(*extent),
            Some(dimension::Value::DimParam(text)) if !is_placeholder(text) && fixed.is_some() => {
                let name = clean(text);
                self.taken.insert(name.clone());
                Dim::constant(*self.bindings.entry(name).or_insert(fixed.unwrap_or_default()))
            }
            _ if fixed.is_some() => Dim::constant(fixed.unwrap_or_default()),
            Some(dimension::Value::DimParam(text)) if !is_placeholder(text) => self.named(&clean(text)),
            _ => self.fresh(&format!("{input}_{axis}")),
        }
    }

    fn named(&mut self, name: &str) -> Dim {
        self.taken.insert(name.into());
        let expression = || -> Option<i64> {
            let dim: Dim = name.parse().ok()?;
            dim.eval(&|symbol| self.bindings.get(symbol).copied()).ok().filter(|&extent| extent >= 0)
        };
        match expression() {
            Some(extent) if !self.bindings.contains_key(name) => {
                let symbols = name.parse::<Dim>().map(|dim| ic_types::symbols_of([&dim])).unwrap_or_default();
                self.taken.extend(symbols.iter().map(|s| s.to_string()));
                Dim::constant(extent)
            }
            _ => self.symbol(name),
        }
    }

    fn symbol(&self, name: &str) -> Dim {
        self.bindings.get(name).map_or_else(|| Dim::symbol(name), |&extent| Dim::constant(extent))
    }
}

/// Whether a dim's name only says that it has none, so that equal names do not mean equal extents.
fn is_placeholder(name: &str) -> bool {
    matches!(name.trim(), "" | "?" | "-1" | "None")
}

/// The name without the character that quotes names in expressions.
fn clean(name: &str) -> String {
    name.trim().replace('`', "'")
}

/// The rank of a tensor type, if it is declared.
pub(crate) fn rank_of(ty: &TypeProto) -> Option<usize> {
    dimensions(ty).map(<[Dimension]>::len)
}

/// The dims of a tensor type with a declared shape.
pub(crate) fn dimensions(ty: &TypeProto) -> Option<&[Dimension]> {
    match &ty.value {
        Some(type_proto::Value::TensorType(tensor)) => tensor.shape.as_ref().map(|shape| shape.dim.as_slice()),
        _ => None,
    }
}
