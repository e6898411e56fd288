//! ONNX ops on strings: `StringConcat`, `StringSplit`, `StringNormalizer`, `RegexFullMatch`, `TfIdfVectorizer`.

use super::prelude::*;
use ic_ir::ops::{Find, NonZero, ReduceFn, RegexMatch, StringCase, StringConcat, StringPieces, StringSplit, TfIdf};

pub(super) const OPS: &[super::Row] = &[
    ("", "RegexFullMatch", regex_full_match),
    ("", "StringConcat", string_concat),
    ("", "StringNormalizer", string_normalizer),
    ("", "StringSplit", string_split),
    ("", "TfIdfVectorizer", tf_idf_vectorizer),
];

/// A constant string.
fn text(cx: &mut Context, text: &str) -> Result<ValueId> {
    cx.constant(Tensor::scalar(text.to_string()))
}

/// `StringConcat`.
fn string_concat(cx: &mut Context, node: &NodeView) -> Results {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let (from, to) = (cx.shape(a)?, cx.shape(b)?);
    let (a, b) = (cx.expand(a, to)?, cx.expand(b, from)?);
    Ok(vec![cx.push(StringConcat {}, &[a, b])?])
}

/// `StringSplit`: the pieces, and how many each string has.
fn string_split(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let delimiter = text(cx, node.text("delimiter").unwrap_or_default())?;
    let max_splits = node.int("maxsplit").unwrap_or(-1);
    let counts = cx.push(StringPieces { max_splits }, &[x, delimiter])?;
    // One more than there are, so that there is a largest.
    let (zero, n) = (cx.vector(vec![0i64])?, cx.ty(counts)?.elements());
    let flat = cx.reshape(counts, vec![n])?;
    let all = cx.concat(&[flat, zero], 0)?;
    let most = cx.reduce(ReduceFn::Max, all, vec![0])?;
    let extent = cx.ints(most, "pieces")?.pop().ok_or_else(|| invalid!("no number of pieces"))?;
    Ok(vec![cx.push(StringSplit { max_splits, extent }, &[x, delimiter])?, counts])
}

/// `RegexFullMatch`.
fn regex_full_match(cx: &mut Context, node: &NodeView) -> Results {
    let pattern = node.text("pattern").ok_or_else(|| invalid!("attribute `pattern` is missing"))?;
    let pattern = text(cx, pattern)?;
    Ok(vec![cx.push(RegexMatch {}, &[node.input(0)?, pattern])?])
}

/// `StringNormalizer`: stop words taken out of the only row, then the case changed; one empty string if nothing is left.
fn string_normalizer(cx: &mut Context, node: &NodeView) -> Results {
    let mut x = node.input(0)?;
    let ty = cx.ty(x)?;
    let is_row = matches!(&ty.shape[..], [_]) || matches!(&ty.shape[..], [one, _] if one.is(1));
    if !is_row {
        return Err(invalid!("`X` must be [C] or [1, C], found {ty}"));
    }
    x = cx.reshape(x, vec![ty.elements()])?;
    let is_case_sensitive = node.flag("is_case_sensitive", false);
    let stopwords = node.texts("stopwords").unwrap_or_default();
    if !stopwords.is_empty() {
        let fold = |word: String| if is_case_sensitive { word } else { word.to_lowercase() };
        let words = cx.vector(stopwords.into_iter().map(fold).collect())?;
        let folded = if is_case_sensitive { x } else { cx.push(StringCase { upper: false }, &[x])? };
        x = without(cx, x, folded, words)?;
    }
    x = match node.text("case_change_action") {
        None | Some("NONE" | "") => x,
        Some("LOWER") => cx.push(StringCase { upper: false }, &[x])?,
        Some("UPPER") => cx.push(StringCase { upper: true }, &[x])?,
        Some(other) => return Err(invalid!("attribute `case_change_action` is `{other}`")),
    };
    let mut shape = cx.shape(x)?;
    if ty.rank() == 2 {
        shape.insert(0, Dim::constant(1));
    }
    Ok(vec![cx.reshape(x, shape)?])
}

/// The elements of `x` of which those of `folded` are no words; one empty string if there are none.
fn without(cx: &mut Context, x: ValueId, folded: ValueId, words: ValueId) -> Result<ValueId> {
    let extent = cx.ty(x)?.elements();
    let n_words = cx.shape(words)?[0].clone();
    let place = cx.push(Find {}, &[folded, words])?;
    let n_words = cx.dim_scalar(n_words)?;
    let is_kept = cx.binary(ScalarOp::Eq, place, n_words)?;
    let found = cx.push_all(NonZero {}, &[Some(is_kept)])?;
    // Behind the strings is an empty one, which the first place means if nothing is found.
    let (nothing, last) = (cx.vector(vec![String::new()])?, cx.dim_scalar(extent.clone())?);
    let padded = cx.concat(&[x, nothing], 0)?;
    let is_empty = cx.with_scalar(ScalarOp::Eq, found[1], 0.0)?;
    let room = cx.concat(&[found[0], found[1]], 0)?;
    let first = cx.select(is_empty, last, room)?;
    let count = cx.with_scalar(ScalarOp::Max, found[1], 1.0)?;
    let count = cx.ints(count, "kept")?.pop().ok_or_else(|| invalid!("no number of strings"))?;
    let places = cx.slice(first, 0, Dim::constant(0), count)?;
    cx.gather(padded, places, 0)
}

/// `TfIdfVectorizer`: n-grams counted, or seen, or weighted.
fn tf_idf_vectorizer(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let ty = cx.ty(x)?;
    let (x, pool) = match (node.texts("pool_strings"), node.ints("pool_int64s")) {
        (Some(pool), _) if !pool.is_empty() => (x, cx.vector(pool)?),
        (_, Some(pool)) => (cx.cast(x, DType::I64)?, cx.vector(pool.to_vec())?),
        _ => return Err(invalid!("neither `pool_strings` nor `pool_int64s` is given")),
    };
    let size = |name: &str| {
        let n = node.int(name).ok_or_else(|| invalid!("attribute `{name}` is missing"))?;
        usize::try_from(n).map_err(|_| invalid!("attribute `{name}` is {n}"))
    };
    let (min, max, max_skip) = (size("min_gram_length")?, size("max_gram_length")?, size("max_skip_count")?);
    let list = |name: &str| node.ints(name).ok_or_else(|| invalid!("attribute `{name}` is missing"));
    let starts = list("ngram_counts")?.iter().map(|&s| usize::try_from(s)).collect::<std::result::Result<_, _>>();
    let starts = starts.map_err(|_| invalid!("attribute `ngram_counts` is negative"))?;
    let indices = list("ngram_indexes")?;
    let width = indices.iter().max().map_or(0, |&last| last.saturating_add(1));
    let width = usize::try_from(width).ok().filter(|&w| w <= 1 << 24 && indices.iter().all(|&i| i >= 0));
    let width = width.ok_or_else(|| invalid!("attribute `ngram_indexes` is out of range"))?;
    let places = cx.vector(indices.to_vec())?;
    let op = TfIdf { min, max, max_skip, starts, width };
    let rows = match ty.rank() {
        0 => cx.reshape(x, vec![Dim::constant(1)])?,
        _ => x,
    };
    let counts = cx.push(op, &[rows, pool, places])?;
    let weights = match node.floats("weights") {
        Some(weights) if !weights.is_empty() => {
            let mut all = vec![1.0f32; width];
            indices.iter().zip(weights).for_each(|(&i, &weight)| all[i as usize] = weight);
            Some(cx.vector(all)?)
        }
        _ => None,
    };
    let seen = |cx: &mut Context| cx.with_scalar(ScalarOp::Min, counts, 1.0);
    let y = match (node.text("mode"), weights) {
        (Some("TF"), _) => counts,
        (Some("IDF"), None) => seen(cx)?,
        (Some("IDF"), Some(weights)) => {
            let seen = seen(cx)?;
            cx.binary(ScalarOp::Mul, seen, weights)?
        }
        (Some("TFIDF"), None) => counts,
        (Some("TFIDF"), Some(weights)) => cx.binary(ScalarOp::Mul, counts, weights)?,
        (mode, _) => return Err(invalid!("attribute `mode` is `{}`", mode.unwrap_or_default())),
    };
    Ok(vec![y])
}
