//! DistilBERT encoders: token ids to the last hidden state.

use super::super::Result;
use super::super::family::{Family, Part};
use super::super::layers::{Attention, Model};
use ic_ir::ScalarOp;

/// The family.
pub(super) const DISTILBERT: Family = Family {
    model_type: "distilbert",
    architectures: &["DistilBertModel"],
    layers: "n_layers",
    required: &[],
    tensors: &[
        ("embeddings.word_embeddings", Part::Table("vocab_size", "dim")),
        ("embeddings.position_embeddings", Part::Table("max_position_embeddings", "dim")),
        ("embeddings.LayerNorm", Part::Norm("dim")),
        ("transformer.layer.{}.attention.q_lin", Part::Linear("dim", "dim")),
        ("transformer.layer.{}.attention.k_lin", Part::Linear("dim", "dim")),
        ("transformer.layer.{}.attention.v_lin", Part::Linear("dim", "dim")),
        ("transformer.layer.{}.attention.out_lin", Part::Linear("dim", "dim")),
        ("transformer.layer.{}.sa_layer_norm", Part::Norm("dim")),
        ("transformer.layer.{}.ffn.lin1", Part::Linear("hidden_dim", "dim")),
        ("transformer.layer.{}.ffn.lin2", Part::Linear("dim", "hidden_dim")),
        ("transformer.layer.{}.output_layer_norm", Part::Norm("dim")),
    ],
    unused: &["embeddings.position_ids"],
    build,
};

fn build(model: &mut Model) -> Result<()> {
    /// What the architecture adds to variances.
    const EPSILON: f64 = 1e-12;
    let tokens = [model.dim("batch"), model.dim("seq")];
    let input_ids = model.input("input_ids", &tokens)?;
    let attention_mask = model.input("attention_mask", &tokens)?;
    let words = model.embedding("embeddings.word_embeddings", input_ids)?;
    let rows = model.size("max_position_embeddings")?;
    let positions = model.positions("embeddings.position_embeddings", rows, &tokens[1])?;
    let sum = model.push(ScalarOp::Add, &[words, positions])?;
    let mut x = model.layer_norm("embeddings.LayerNorm", sum, EPSILON)?;
    let mask = model.attention_mask(attention_mask)?;
    let (heads, head) = model.heads("n_heads", "dim")?;
    for layer in 0..model.size("n_layers")? {
        let part = |name: &str| format!("transformer.layer.{layer}.{name}");
        let projections = ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"].map(part);
        let projections = projections.each_ref().map(String::as_str);
        let attended = model.self_attention(x, mask, &Attention { heads, head, projections })?;
        let sum = model.push(ScalarOp::Add, &[attended, x])?;
        let middle = model.layer_norm(&part("sa_layer_norm"), sum, EPSILON)?;
        let wide = model.linear(&part("ffn.lin1"), middle)?;
        let active = model.activation("activation", wide)?;
        let narrow = model.linear(&part("ffn.lin2"), active)?;
        let sum = model.push(ScalarOp::Add, &[narrow, middle])?;
        x = model.layer_norm(&part("output_layer_norm"), sum, EPSILON)?;
    }
    model.output("last_hidden_state", x);
    Ok(())
}
