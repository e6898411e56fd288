//! What round-off does to a model's own outputs.

use super::compare::{Row, compare};
use anyhow::Result;
use ic::tensors::Random;
use ic_ir::eval::{Symbols, eval_altered};
use ic_ir::{Graph, Op};
use ic_types::{Data, Tensor};

/// How often the model is evaluated.
const TRIALS: u64 = 4;

/// Evaluates a graph with each f32 of its inputs and constants one unit in its last place higher or lower, at random,
/// but for whole numbers, and notes how far each output came from `reference`.
pub(super) fn measure(graph: &Graph, inputs: &[Tensor], reference: &[Tensor], rows: &mut [Row]) -> Result<()> {
    for trial in 0..TRIALS {
        let mut random = Random::new(trial);
        let inputs: Vec<_> = inputs.iter().map(|input| nudged(input, &mut random)).collect();
        let outputs = eval_altered(graph, &inputs, &Symbols::new(), &mut |node, results| {
            if matches!(node.op, Op::Constant(_)) {
                results.iter_mut().for_each(|tensor| *tensor = nudged(tensor, &mut random));
            }
        });
        for ((row, found), expected) in rows.iter_mut().zip(&outputs.map_err(super::not_evaluated)?).zip(reference) {
            let moved = compare(&row.name, found, expected)?.absolute;
            row.roundoff = Some(row.roundoff.unwrap_or(0.0).max(moved));
        }
    }
    Ok(())
}

fn nudged(tensor: &Tensor, random: &mut Random) -> Tensor {
    let Data::F32(elements) = tensor.data() else { return tensor.clone() };
    let nudge = |&x: &f32| match x.fract() == 0.0 || !x.is_finite() {
        true => x,
        false if random.bits() >> 63 == 0 => x.next_up(),
        false => x.next_down(),
    };
    Tensor::new(tensor.shape().to_vec(), Data::F32(elements.iter().map(nudge).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;

    /// What round-off does to the graph of `text` on one input.
    fn moved(text: &str, input: &[f32]) -> f64 {
        let graph = ic_ir::text::parse(text).unwrap();
        let inputs = [Tensor::from_elements(vec![input.len()], input.to_vec())];
        let reference = eval_graph(&graph, &inputs, &Symbols::new()).unwrap();
        let mut rows = vec![compare("y", &reference[0], &reference[0]).unwrap()];
        measure(&graph, &inputs, &reference, &mut rows).unwrap();
        rows[0].roundoff.unwrap()
    }

    #[test]
    fn it_is_small_but_where_a_value_lies_between_two_integers() {
        let product = "graph @product(%x: f32[3]) {
  %0 = constant() {value = f32[] [0.3]} : f32[]
  %1 = mul(%x, %0) : f32[3]
  return \"y\" = %1
}
";
        assert!(moved(product, &[0.7, -1.3, 2.1]) < 3e-7);
        let rounded = product.replace("return \"y\" = %1", "%2 = round(%1) : f32[3]\n  return \"y\" = %2");
        assert_eq!(moved(&rounded, &[0.7, -1.3, 2.1]), 0.0);
        let between = 1.5 / 0.3f32;
        assert_eq!(moved(&rounded, &[0.7, between.next_up(), 2.1]), 1.0);
    }

    #[test]
    fn whole_numbers_stay() {
        let masked = "graph @masked(%x: f32[2]) {
  %0 = constant() {value = f32[] [1.0]} : f32[]
  %1 = eq(%x, %0) : bool[2]
  return \"y\" = %1
}
";
        assert_eq!(moved(masked, &[1.0, 0.0]), 0.0);
    }
}
