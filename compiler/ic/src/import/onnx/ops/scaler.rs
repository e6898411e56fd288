//! `ai.onnx.ml.Scaler`: `(X - offset) * scale`, as scikit-learn's scalers export.

use super::prelude::*;

pub(super) const OPS: &[super::Row] = &[("ai.onnx.ml", "Scaler", scaler)];

/// `Scaler`: one offset and one factor per feature, the last axis of `X`, or one for all. The result is f32.
fn scaler(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let features = cx.shape(x)?.pop().ok_or_else(|| invalid!("`X` has no features"))?;
    let mut result = cx.cast(x, DType::F32)?;
    for (name, function) in [("offset", ScalarOp::Sub), ("scale", ScalarOp::Mul)] {
        let Some(values) = node.floats(name).filter(|values| !values.is_empty()) else { continue };
        let fits = values.len() == 1 || features.as_const().is_none_or(|n| n == values.len() as i64);
        if !fits {
            return Err(invalid!("`{name}` has {} values for {features} features", values.len()));
        }
        let values = match values {
            [one] => cx.scalar(DType::F32, f64::from(*one))?,
            _ => cx.vector(values.to_vec())?,
        };
        result = cx.binary(function, result, values)?;
    }
    Ok(vec![result])
}

#[cfg(test)]
mod tests {
    use crate::import::{ImportOptions, import};
    use ic_types::Tensor;

    /// A model `y = Scaler(x: f32[2, 2])` in the wire format of `ModelProto`, and the message of a refusal.
    fn run(attributes: &[(&str, &[f32])]) -> Result<Vec<f32>, String> {
        use onnx_protobuf::*;
        use protobuf::MessageField;
        let attribute = |&(name, floats): &(&str, &[f32])| AttributeProto {
            name: name.into(),
            floats: floats.to_vec(),
            ..AttributeProto::default()
        };
        let node = NodeProto {
            op_type: "Scaler".into(),
            domain: "ai.onnx.ml".into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            attribute: attributes.iter().map(attribute).collect(),
            ..NodeProto::default()
        };
        let data = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let x = TensorProto { name: "x".into(), dims: vec![2, 2], data_type: 1, raw_data: data, ..Default::default() };
        let y = ValueInfoProto { name: "y".into(), ..ValueInfoProto::default() };
        let graph = GraphProto { node: vec![node], initializer: vec![x], output: vec![y], ..GraphProto::default() };
        let opset = |domain: &str, version| OperatorSetIdProto {
            domain: domain.into(),
            version,
            ..OperatorSetIdProto::default()
        };
        let opset_import = vec![opset("", 18), opset("ai.onnx.ml", 3)];
        let model = ModelProto { ir_version: 8, opset_import, graph: MessageField::some(graph), ..Default::default() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scaler.onnx");
        std::fs::write(&path, model.write_to_bytes().unwrap()).unwrap();
        let graph = import(&path, &ImportOptions::default()).map_err(|problems| format!("{problems:?}"))?.graph;
        let results: Vec<Tensor> = ic_ir::eval::eval_graph(&graph, &[], &Default::default()).unwrap();
        Ok(results[0].elements::<f32>().unwrap().to_vec())
    }

    #[test]
    fn features_are_shifted_and_scaled() {
        assert_eq!(run(&[("offset", &[1.0, 2.0]), ("scale", &[10.0, 0.5])]).unwrap(), [0.0, 0.0, 20.0, 1.0]);
        assert_eq!(run(&[("scale", &[2.0])]).unwrap(), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(run(&[]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert!(run(&[("offset", &[1.0, 2.0, 3.0])]).unwrap_err().contains("3 values for 2 features"));
    }
}
