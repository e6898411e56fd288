//! BERT encoders, sentence transformers among them: token ids to the last hidden state.

use super::super::Result;
use super::super::family::{Family, Part};
use super::super::layers::{Attention, Model};
use ic_ir::ScalarOp;

/// The family.
pub(super) const BERT: Family = Family {
    model_type: "bert",
    architectures: &["BertModel"],
    layers: "num_hidden_layers",
    required: &[("position_embedding_type", "\"absolute\""), ("is_decoder", "false"), ("add_cross_attention", "false")],
    tensors: &[
        ("embeddings.word_embeddings", Part::Table("vocab_size", "hidden_size")),
        ("embeddings.token_type_embeddings", Part::Table("type_vocab_size", "hidden_size")),
        ("embeddings.position_embeddings", Part::Table("max_position_embeddings", "hidden_size")),
        ("embeddings.LayerNorm", Part::Norm("hidden_size")),
        ("encoder.layer.{}.attention.self.query", Part::Linear("hidden_size", "hidden_size")),
        ("encoder.layer.{}.attention.self.key", Part::Linear("hidden_size", "hidden_size")),
        ("encoder.layer.{}.attention.self.value", Part::Linear("hidden_size", "hidden_size")),
        ("encoder.layer.{}.attention.output.dense", Part::Linear("hidden_size", "hidden_size")),
        ("encoder.layer.{}.attention.output.LayerNorm", Part::Norm("hidden_size")),
        ("encoder.layer.{}.intermediate.dense", Part::Linear("intermediate_size", "hidden_size")),
        ("encoder.layer.{}.output.dense", Part::Linear("hidden_size", "intermediate_size")),
        ("encoder.layer.{}.output.LayerNorm", Part::Norm("hidden_size")),
    ],
    unused: &["embeddings.position_ids", "pooler.dense."],
    build,
};

fn build(model: &mut Model) -> Result<()> {
    let tokens = [model.dim("batch"), model.dim("seq")];
    let input_ids = model.input("input_ids", &tokens)?;
    let attention_mask = model.input("attention_mask", &tokens)?;
    let token_type_ids = model.input("token_type_ids", &tokens)?;
    let epsilon = model.config.number("layer_norm_eps", 1e-12)?;
    let words = model.embedding("embeddings.word_embeddings", input_ids)?;
    let types = model.embedding("embeddings.token_type_embeddings", token_type_ids)?;
    let sum = model.push(ScalarOp::Add, &[words, types])?;
    let rows = model.size("max_position_embeddings")?;
    let positions = model.positions("embeddings.position_embeddings", rows, &tokens[1])?;
    let sum = model.push(ScalarOp::Add, &[sum, positions])?;
    let mut x = model.layer_norm("embeddings.LayerNorm", sum, epsilon)?;
    let mask = model.attention_mask(attention_mask)?;
    let (heads, head) = model.heads("num_attention_heads", "hidden_size")?;
    for layer in 0..model.size("num_hidden_layers")? {
        let part = |name: &str| format!("encoder.layer.{layer}.{name}");
        let projections =
            ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"].map(part);
        let projections = projections.each_ref().map(String::as_str);
        let attended = model.self_attention(x, mask, &Attention { heads, head, projections })?;
        let sum = model.push(ScalarOp::Add, &[attended, x])?;
        let middle = model.layer_norm(&part("attention.output.LayerNorm"), sum, epsilon)?;
        let wide = model.linear(&part("intermediate.dense"), middle)?;
        let active = model.activation("hidden_act", wide)?;
        let narrow = model.linear(&part("output.dense"), active)?;
        let sum = model.push(ScalarOp::Add, &[narrow, middle])?;
        x = model.layer_norm(&part("output.LayerNorm"), sum, epsilon)?;
    }
    model.output("last_hidden_state", x);
    Ok(())
}
