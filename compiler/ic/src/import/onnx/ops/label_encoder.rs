//! ONNX-ML ops that map keys to values: `LabelEncoder`, `CategoryMapper`.

use super::prelude::*;
use crate::import::onnx::tensor::literal;
use ic_ir::ops::{Constant, Find};

pub(super) const OPS: &[super::Row] =
    &[("ai.onnx.ml", "CategoryMapper", category_mapper), ("ai.onnx.ml", "LabelEncoder", label_encoder)];

/// The value at the place of each element of `x` among `keys`; `default` where it is not among them.
fn mapped(cx: &mut Context, x: ValueId, keys: ValueId, values: ValueId, default: ValueId) -> Results {
    let (n, m) = (cx.ty(keys)?.elements(), cx.ty(values)?.elements());
    if n != m {
        return Err(invalid!("{n} keys have {m} values"));
    }
    let (keys, values) = (cx.reshape(keys, vec![n.clone()])?, cx.reshape(values, vec![n])?);
    let default = cx.reshape(default, vec![Dim::constant(1)])?;
    let place = cx.push(Find {}, &[x, keys])?;
    let values = cx.concat(&[values, default], 0)?;
    Ok(vec![cx.gather(values, place, 0)?])
}

/// A tensor attribute.
fn tensor(cx: &mut Context, node: &NodeView, name: &str) -> Result<Option<ValueId>> {
    let Some(proto) = node.tensor(name) else { return Ok(None) };
    let value = literal(proto, &mut cx.files)?;
    cx.push(Constant { value }, &[]).map(Some)
}

/// The list that an attribute `{name}_strings`, `{name}_int64s`, `{name}_floats` or `{name}_tensor` holds.
fn list(cx: &mut Context, node: &NodeView, name: &str) -> Result<ValueId> {
    if let Some(texts) = node.texts(&format!("{name}_strings")).filter(|list| !list.is_empty()) {
        return cx.vector(texts);
    }
    if let Some(ints) = node.ints(&format!("{name}_int64s")).filter(|list| !list.is_empty()) {
        return cx.vector(ints.to_vec());
    }
    if let Some(floats) = node.floats(&format!("{name}_floats")).filter(|list| !list.is_empty()) {
        return cx.vector(floats.to_vec());
    }
    tensor(cx, node, &format!("{name}_tensor"))?.ok_or_else(|| invalid!("there are no `{name}`"))
}

/// `LabelEncoder`: strings to their places and back in version 1, keys to values from version 2 on.
fn label_encoder(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    if let Some(classes) = node.texts("classes_strings") {
        return classes_of(cx, node, x, classes, None);
    }
    let (keys, values) = (list(cx, node, "keys")?, list(cx, node, "values")?);
    let default = match tensor(cx, node, "default_tensor")? {
        Some(default) => default,
        None => match cx.dtype(values)? {
            DType::String => {
                cx.constant(Tensor::scalar(node.text("default_string").unwrap_or("_Unused").to_string()))?
            }
            DType::F32 => cx.scalar(DType::F32, node.float("default_float").map_or(-0.0, f64::from))?,
            DType::I64 => cx.constant(Tensor::scalar(node.int("default_int64").unwrap_or(-1)))?,
            dtype if dtype.is_float() => cx.scalar(dtype, -0.0)?,
            dtype => cx.scalar(dtype, -1.0)?,
        },
    };
    mapped(cx, x, keys, values, default)
}

/// `CategoryMapper`: strings to integers or integers to strings.
fn category_mapper(cx: &mut Context, node: &NodeView) -> Results {
    let texts = node.texts("cats_strings").ok_or_else(|| invalid!("attribute `cats_strings` is missing"))?;
    let numbers = node.ints("cats_int64s").ok_or_else(|| invalid!("attribute `cats_int64s` is missing"))?;
    classes_of(cx, node, node.input(0)?, texts, Some(numbers.to_vec()))
}

/// Strings to their numbers, by default their places, or numbers to their strings.
fn classes_of(cx: &mut Context, node: &NodeView, x: ValueId, texts: Vec<String>, numbers: Option<Vec<i64>>) -> Results {
    let numbers = numbers.unwrap_or_else(|| (0..texts.len() as i64).collect());
    let (texts, numbers) = (cx.vector(texts)?, cx.vector(numbers)?);
    if cx.dtype(x)? == DType::String {
        let default = cx.constant(Tensor::scalar(node.int("default_int64").unwrap_or(-1)))?;
        return mapped(cx, x, texts, numbers, default);
    }
    let default = cx.constant(Tensor::scalar(node.text("default_string").unwrap_or("_Unused").to_string()))?;
    mapped(cx, x, numbers, texts, default)
}
