//! ONNX `ImageDecoder`.

use super::prelude::*;
use ic_ir::ops::{ImageDecode, PixelFormat, SequenceAt, SequenceShape};

pub(super) const OPS: &[super::Row] = &[("", "ImageDecoder", image_decoder)];

/// `ImageDecoder`: the pixels `[height, width, channels]` of a file.
fn image_decoder(cx: &mut Context, node: &NodeView) -> Results {
    let format = match node.text("pixel_format") {
        None | Some("RGB") => PixelFormat::Rgb,
        Some("BGR") => PixelFormat::Bgr,
        Some("Grayscale") => PixelFormat::Grayscale,
        Some(other) => return Err(invalid!("attribute `pixel_format` is `{other}`")),
    };
    let image = cx.push(ImageDecode { format }, &[node.input(0)?])?;
    let extents = cx.push(SequenceShape { dtype: DType::U8, rank: 3 }, &[image])?;
    let mut shape = cx.ints(extents, "image")?;
    let channels = if format == PixelFormat::Grayscale { 1 } else { 3 };
    shape[2] = Dim::constant(channels);
    Ok(vec![cx.push(SequenceAt { dtype: DType::U8, shape }, &[image])?])
}
