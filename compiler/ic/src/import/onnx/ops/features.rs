//! ONNX-ML ops on features: `FeatureVectorizer`, `Imputer`, `Normalizer`, `OneHotEncoder`, `ZipMap`.

use super::prelude::*;
use ic_ir::ops::ReduceFn;

pub(super) const OPS: &[super::Row] = &[
    ("ai.onnx.ml", "FeatureVectorizer", feature_vectorizer),
    ("ai.onnx.ml", "Imputer", imputer),
    ("ai.onnx.ml", "Normalizer", normalizer),
    ("ai.onnx.ml", "OneHotEncoder", one_hot_encoder),
    ("ai.onnx.ml", "ZipMap", zip_map),
];

/// `FeatureVectorizer`: the features of all inputs, in f32, `[rows, features]`.
fn feature_vectorizer(cx: &mut Context, node: &NodeView) -> Results {
    let mut parts = Vec::new();
    for x in node.all_inputs()? {
        let x = cx.cast(x, DType::F32)?;
        parts.push(if cx.rank(x)? == 1 { cx.unsqueeze(x, &[1])? } else { x });
    }
    Ok(vec![cx.concat(&parts, 1)?])
}

/// `Imputer`: another value, one for all features or one for each, where an element is the one to replace.
fn imputer(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let (values, is_replaced) = match (node.floats("imputed_value_floats"), node.ints("imputed_value_int64s")) {
        (Some(values), _) if !values.is_empty() => {
            let replaced = node.float("replaced_value_float").unwrap_or(0.0);
            let is_replaced = match replaced.is_nan() {
                true => cx.unary(ScalarOp::IsNan, x)?,
                false => cx.with_scalar(ScalarOp::Eq, x, f64::from(replaced))?,
            };
            (cx.vector(values.to_vec())?, is_replaced)
        }
        (_, Some(values)) if !values.is_empty() => {
            let replaced = cx.constant(Tensor::scalar(node.int("replaced_value_int64").unwrap_or(0)))?;
            (cx.vector(values.to_vec())?, cx.binary(ScalarOp::Eq, x, replaced)?)
        }
        _ => return Err(invalid!("there are no imputed values")),
    };
    let values = cx.cast(values, cx.dtype(x)?)?;
    Ok(vec![cx.select(is_replaced, values, x)?])
}

/// `Normalizer`: each row over its largest magnitude, the sum of its magnitudes, or the root of the sum of its squares; a
/// row of zeros stays.
fn normalizer(cx: &mut Context, node: &NodeView) -> Results {
    let x = cx.cast(node.input(0)?, DType::F32)?;
    let axis = cx.axis(x, -1)?;
    let size = match node.text("norm").unwrap_or("MAX") {
        "MAX" => {
            let magnitude = cx.unary(ScalarOp::Abs, x)?;
            cx.reduce(ReduceFn::Max, magnitude, vec![axis])?
        }
        "L1" => {
            let magnitude = cx.unary(ScalarOp::Abs, x)?;
            cx.reduce(ReduceFn::Sum, magnitude, vec![axis])?
        }
        "L2" => {
            let squares = cx.binary(ScalarOp::Mul, x, x)?;
            let sum = cx.reduce(ReduceFn::Sum, squares, vec![axis])?;
            cx.unary(ScalarOp::Sqrt, sum)?
        }
        other => return Err(invalid!("attribute `norm` is `{other}`")),
    };
    let is_zero = cx.with_scalar(ScalarOp::Eq, size, 0.0)?;
    let one = cx.scalar_like(size, 1.0)?;
    let divisor = cx.select(is_zero, one, size)?;
    Ok(vec![cx.binary(ScalarOp::Div, x, divisor)?])
}

/// `OneHotEncoder`: a last axis with 1 at the element's category. One that is none of them gives zeros.
fn one_hot_encoder(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    if node.int("zeros").unwrap_or(1) == 0 {
        return Err(unsupported!("elements of unknown categories as errors"));
    }
    let categories = match (node.texts("cats_strings"), node.ints("cats_int64s")) {
        (Some(texts), _) if !texts.is_empty() => cx.vector(texts)?,
        (_, Some(ints)) if !ints.is_empty() => {
            let ints = cx.vector(ints.to_vec())?;
            cx.cast(ints, cx.dtype(x)?)?
        }
        _ => return Err(invalid!("there are no categories")),
    };
    let column = cx.unsqueeze(x, &[-1])?;
    let is_it = cx.binary(ScalarOp::Eq, column, categories)?;
    Ok(vec![cx.cast(is_it, DType::F32)?])
}

/// `ZipMap`: the scores of each row by label. There are no maps here: the scores themselves, in the labels' order.
fn zip_map(cx: &mut Context, node: &NodeView) -> Results {
    cx.warn("the output is a tensor of scores in the order of the labels, not a sequence of maps");
    Ok(vec![node.input(0)?])
}
