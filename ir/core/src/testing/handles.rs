//! One random valid instance of each op on sequences, strings and keys, and of calls.

use super::Sample;
use super::random::{ANY, Random, dims};
use crate::graph::Graph;
use crate::ops::*;
use crate::scalar::ScalarOp;
use crate::{TensorType, ValueId};
use ic_types::{DType, Dim, Object, Tensor};

/// A sequence of `n` matrices of one shape.
fn matrices(r: &mut Random, n: usize) -> (Tensor, DType, Vec<usize>) {
    let (dtype, shape) = (r.pick(ANY), vec![r.between(1, 3), r.between(1, 3)]);
    let elements = (0..n).map(|_| Object::Tensor(r.tensor(dtype, &shape))).collect();
    (Tensor::scalar(Object::Sequence(elements)), dtype, shape)
}

/// A place among `n`, from the front or the end.
fn position(r: &mut Random, n: usize) -> Tensor {
    Tensor::scalar(r.below(2 * n) as i64 - n as i64)
}

fn strings(r: &mut Random) -> Tensor {
    let shape = r.any_shape();
    r.tensor(DType::String, &shape)
}

pub(super) fn sequence_of(r: &mut Random) -> Sample {
    let n = r.below(3);
    let optional = n < 2 && r.flag();
    let (sequence, ..) = matrices(r, 2);
    let elements = (0..n).map(|_| if r.flag() { sequence.clone() } else { r.tensor(DType::F32, &[2]) });
    Sample::new(SequenceOf { optional }, elements.collect())
}

pub(super) fn sequence_insert(r: &mut Random) -> Sample {
    let n = r.between(1, 3);
    let (sequence, dtype, shape) = matrices(r, n);
    let mut operands = vec![sequence, r.tensor(dtype, &shape)];
    if r.flag() {
        operands.push(position(r, n));
    }
    Sample::new(SequenceInsert {}, operands)
}

pub(super) fn sequence_erase(r: &mut Random) -> Sample {
    let n = r.between(1, 3);
    let mut operands = vec![matrices(r, n).0];
    if r.flag() {
        operands.push(position(r, n));
    }
    Sample::new(SequenceErase {}, operands)
}

pub(super) fn sequence_length(r: &mut Random) -> Sample {
    let n = r.below(4);
    Sample::new(SequenceLength {}, vec![matrices(r, n).0])
}

pub(super) fn sequence_shape(r: &mut Random) -> Sample {
    let n = r.between(1, 3);
    let (sequence, dtype, shape) = matrices(r, n);
    Sample::new(SequenceShape { dtype, rank: shape.len() }, vec![sequence, position(r, n)])
}

pub(super) fn sequence_at(r: &mut Random) -> Sample {
    let n = r.between(1, 3);
    let (sequence, dtype, shape) = matrices(r, n);
    Sample::new(SequenceAt { dtype, shape: dims(&shape) }, vec![sequence, position(r, n)])
}

pub(super) fn sequence_split(r: &mut Random) -> Sample {
    let mut shape = r.shape(2);
    let (axis, dtype) = (r.below(2), r.pick(ANY));
    shape[axis] = shape[axis].max(1);
    let mut operands = vec![r.tensor(dtype, &shape)];
    match r.below(3) {
        0 => operands.push(Tensor::scalar(r.between(1, 3) as i64)),
        1 => operands.push(Tensor::from_elements(vec![2], vec![1i64, shape[axis] as i64 - 1])),
        _ => {}
    }
    Sample::new(SequenceSplit { axis, keep: r.flag() }, operands)
}

pub(super) fn sequence_concat(r: &mut Random) -> Sample {
    let n = r.between(1, 3);
    Sample::new(SequenceConcat { axis: r.below(4) as i64 - 2, new_axis: r.flag() }, vec![matrices(r, n).0])
}

pub(super) fn find(r: &mut Random) -> Sample {
    let (dtype, n, shape) = (r.pick(ANY), r.below(20), r.any_shape());
    Sample::new(Find {}, vec![r.tensor(dtype, &shape), r.tensor(dtype, &[n])])
}

pub(super) fn tf_idf(r: &mut Random) -> Sample {
    let dtype = r.pick(&[DType::I64, DType::String]);
    let (singles, pairs) = (r.below(4), r.below(4));
    let shape = [r.below(3), r.between(1, 6)];
    let indices = (0..(singles + pairs) as i64).rev().collect();
    let operands = vec![
        r.tensor(dtype, &shape),
        r.tensor(dtype, &[singles + 2 * pairs]),
        Tensor::from_elements(vec![singles + pairs], indices),
    ];
    let (min, max_skip) = (r.between(1, 2), r.below(3));
    Sample::new(TfIdf { min, max: 2, max_skip, starts: vec![0, singles], width: singles + pairs + 1 }, operands)
}

pub(super) fn random(r: &mut Random) -> Sample {
    let dtype = r.pick(&[DType::F32, DType::F64]);
    let op = crate::ops::Random { dtype, shape: dims(&r.any_shape()), normal: r.flag(), seed: r.bits() as i64 };
    Sample::new(op, vec![])
}

pub(super) fn intern(r: &mut Random) -> Sample {
    let x = strings(r);
    let texts = x.elements::<String>().unwrap_or_default();
    let ends = texts.iter().scan(0, |end, text| {
        *end += text.len() as i64;
        Some(*end)
    });
    let ends = Tensor::from_elements(vec![texts.len()], ends.collect());
    let bytes: Vec<u8> = texts.iter().flat_map(|text| text.bytes()).collect();
    Sample::new(Intern { shape: dims(x.shape()) }, vec![Tensor::from_elements(vec![bytes.len()], bytes), ends])
}

pub(super) fn string_concat(r: &mut Random) -> Sample {
    let a = strings(r);
    let b = r.tensor(DType::String, a.shape());
    Sample::new(StringConcat {}, vec![a, b])
}

pub(super) fn string_case(r: &mut Random) -> Sample {
    let shape = r.any_shape();
    let len = shape.iter().product();
    let texts = (0..len).map(|_| r.pick(&["", "Aa", "ß1", "ÄÖ"]).to_string()).collect();
    Sample::new(StringCase { upper: r.flag() }, vec![Tensor::from_elements::<String>(shape, texts)])
}

/// Strings with pieces, and what is between them.
fn joined(r: &mut Random) -> Vec<Tensor> {
    let shape = r.any_shape();
    let len: usize = shape.iter().product();
    let texts = (0..len).map(|_| r.pick(&["", "a,b", " c  d e ", ",,", "f"]).to_string()).collect();
    let delimiter = Tensor::scalar(r.pick(&["", ",", " "]).to_string());
    vec![Tensor::from_elements::<String>(shape, texts), delimiter]
}

pub(super) fn string_pieces(r: &mut Random) -> Sample {
    let operands = joined(r);
    Sample::new(StringPieces { max_splits: r.below(4) as i64 - 1 }, operands)
}

pub(super) fn string_split(r: &mut Random) -> Sample {
    let operands = joined(r);
    // No string has more pieces.
    let extent = 6 + r.below(2) as i64;
    Sample::new(StringSplit { max_splits: r.below(4) as i64 - 1, extent: extent.into() }, operands)
}

pub(super) fn regex_match(r: &mut Random) -> Sample {
    let pattern = Tensor::scalar(r.pick(&[r"\d+", "[0-4]*", "1|2.", ""]).to_string());
    Sample::new(RegexMatch {}, vec![strings(r), pattern])
}

pub(super) fn image_decode(r: &mut Random) -> Sample {
    let (width, height) = (r.between(1, 3), r.between(1, 3));
    let mut file = format!("P6 {width} {height} 255\n").into_bytes();
    file.extend((0..3 * width * height).map(|_| r.bits() as u8));
    let format = r.pick(&[PixelFormat::Rgb, PixelFormat::Bgr, PixelFormat::Grayscale]);
    Sample::new(ImageDecode { format }, vec![Tensor::from_elements(vec![file.len()], file)])
}

/// The sum of the places of a vector that are not zero, of which there are as many as the data says.
pub(super) fn call(r: &mut Random) -> Sample {
    let shape = [r.between(1, 5)];
    let mut region = Graph::new("region");
    let x = region.add_input("x", TensorType::new(DType::F32, dims(&shape)));
    let mut push = |op: Op, operands: &[ValueId]| {
        let operands = operands.iter().map(|&v| Some(v)).collect();
        region.push_node(op, operands, Vec::new(), &"".into()).expect("the operands fit")
    };
    let found = push(NonZero {}.into(), &[x]);
    let n = Dim::symbol("n");
    let slice = Slice { axes: vec![0], starts: vec![0.into()], extents: vec![n], steps: vec![1] };
    let places = push(slice.into(), &[found[0]]);
    let sum = Reduce { function: ReduceFn::Sum, axes: vec![0], keep_dims: true };
    let sum = push(sum.into(), &places)[0];
    let y = push(ScalarOp::Neg.into(), &[sum])[0];
    region.bind_symbol("n", found[1], 0);
    region.add_output("y", y);
    Sample {
        op: Call { entry: None, symbols: Vec::new() }.into(),
        operands: vec![Some(r.tensor(DType::F32, &shape))],
        regions: vec![region],
    }
}
