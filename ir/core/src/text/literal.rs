//! Text form of constants: `f32[2, 2] [1.0, 2.0, 3.0, 4.0]`, `f32[64] splat 0.5`, `f32[64, 64] file "m.onnx" 1024`.
//!
//! A constant in a file prints as its range; parsing it back gives a constant whose source can only say where it was.

use crate::attr::{Attr, F32, quote, split_top_level, unquote};
use crate::literal::{Literal, LiteralData, Source};
use crate::types::TensorType;
use ic_types::{DType, Data, Tensor};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Elements that text may ask for: a splat must not allocate without bound.
const MAX_ELEMENTS: usize = 1 << 24;

pub(crate) fn literal_to_text(literal: &Literal) -> String {
    let ty = literal.ty();
    match &literal.data {
        LiteralData::File { source, offset } => {
            format!("{ty} file {} {offset}", quote(&source.path().to_string_lossy()))
        }
        LiteralData::Inline(data) => {
            let elements = elements_to_text(data);
            match elements.first() {
                Some(first) if elements.len() > 1 && elements.iter().all(|e| e == first) => {
                    format!("{ty} splat {first}")
                }
                _ => format!("{ty} [{}]", elements.join(", ")),
            }
        }
    }
}

pub(crate) fn literal_from_text(text: &str) -> Result<Literal, String> {
    let expected = || "a type, then `[…]`, `splat …` or `file \"…\" …`".to_string();
    let close = text.find(']').ok_or_else(expected)?;
    let (ty, rest) = text.split_at(close + 1);
    let ty: TensorType = super::parse::tensor_type(ty).ok_or_else(expected)?;
    let shape = ty.constant_shape().ok_or("a type with constant extents")?;
    let len = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d)).ok_or("a smaller tensor")?;
    let rest = rest.trim();
    if let Some(file) = rest.strip_prefix("file ") {
        let (path, offset) = file.rsplit_once(' ').ok_or_else(expected)?;
        let path = unquote(path.trim()).ok_or_else(expected)?;
        let offset = offset.parse().map_err(|_| expected())?;
        let data = LiteralData::File { source: Arc::new(Absent(path.into())), offset };
        return Ok(Literal { dtype: ty.dtype, shape, data });
    }
    if len > MAX_ELEMENTS {
        return Err(format!("at most {MAX_ELEMENTS} elements"));
    }
    let elements = match rest.strip_prefix("splat ") {
        Some(element) => vec![element.trim(); len],
        None => split_top_level(rest.strip_prefix('[').and_then(|t| t.strip_suffix(']')).ok_or_else(expected)?),
    };
    let data = elements_from_text(ty.dtype, &elements).filter(|d| d.len() == len);
    let data = data.ok_or_else(|| format!("{len} elements of type {}", ty.dtype))?;
    Ok(Literal::inline(Tensor::new(shape, data)))
}

macro_rules! element_text {
    (display: $($int:ident),*; float: $($bits:ident),*) => {
        fn elements_to_text(data: &Data) -> Vec<String> {
            match data {
                $(Data::$int(v) => v.iter().map(|x| x.to_string()).collect(),)*
                $(Data::$bits(v) => v.iter().map(|x| x.to_string()).collect(),)*
                Data::F32(v) => v.iter().map(|&x| F32(x).to_text()).collect(),
                Data::F64(v) => v.iter().map(|x| format!("{x:?}")).collect(),
                Data::String(v) => v.iter().map(|x| quote(x)).collect(),
                // There is no such constant: objects are made in a run.
                Data::Object(v) => v.iter().map(|x| quote(&format!("{x:?}"))).collect(),
                Data::C64(v) => v.iter().map(|[re, im]| format!("({re:?}, {im:?})")).collect(),
                Data::C128(v) => v.iter().map(|[re, im]| format!("({re:?}, {im:?})")).collect(),
            }
        }

        fn elements_from_text(dtype: DType, texts: &[&str]) -> Option<Data> {
            let texts = texts.iter();
            Some(match dtype {
                $(DType::$int => Data::$int(texts.map(|t| t.parse().ok()).collect::<Option<_>>()?),)*
                $(DType::$bits => Data::$bits(texts.map(|t| t.parse().ok()).collect::<Option<_>>()?),)*
                DType::F32 => Data::F32(texts.map(|t| t.parse().ok()).collect::<Option<_>>()?),
                DType::F64 => Data::F64(texts.map(|t| t.parse().ok()).collect::<Option<_>>()?),
                DType::String => Data::String(texts.map(|t| unquote(t)).collect::<Option<_>>()?),
                DType::Object => return None,
                DType::C64 => Data::C64(texts.map(|t| pair(t)).collect::<Option<_>>()?),
                DType::C128 => Data::C128(texts.map(|t| pair(t)).collect::<Option<_>>()?),
            })
        }
    };
}

// The narrow floats print as their bit patterns.
element_text! {
    display: I64, I32, I16, I8, I4, I2, U64, U32, U16, U8, U4, U2, Bool;
    float: F16, BF16, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F4E2M1
}

fn pair<T: std::str::FromStr>(text: &str) -> Option<[T; 2]> {
    let (re, im) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    Some([re.trim().parse().ok()?, im.trim().parse().ok()?])
}

/// The file of a constant that came from text: known by name only.
#[derive(Debug)]
struct Absent(PathBuf);

impl Source for Absent {
    fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self, _offset: u64, _len: usize) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::NotFound, "the graph was read from text and its constants were not"))
    }
}
