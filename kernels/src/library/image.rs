//! `image_decode`: pixels of image files.

use super::args::{Args, error, kernels};
use super::codes::PixelFormat;
use crate::abi::KernelError;
use crate::host::{Boxed, Object};
use hayro_jpeg2000::{DecodeSettings, Image};
use ic_types::DType;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use std::io::Cursor;
use std::sync::Arc;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

kernels! {
    /// The u8 image `[height, width, channels]` in a file of BMP, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP, as a sequence
    /// of one tensor. `format` is a `PixelFormat`.
    IMAGE_DECODE = "image_decode" ["x"] -> ["y"] {"format"}, decode;
}

/// Bytes of pixels from which on a file is refused.
const MAX_BYTES: u64 = 1 << 32;

fn decode(args: &mut Args) -> Result<(), KernelError> {
    let format = PixelFormat::from_code(args.attr(0)?)?;
    let file = args.input::<u8>(0)?;
    let image = match file {
        [0xff, 0xd8, ..] => jpeg(file)?,
        // A stream of code, or a JP2 container of one: ISO/IEC 15444-1, A.4.1 and I.5.1.
        [0xff, 0x4f, 0xff, 0x51, ..] | [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => jpeg_2000(file)?,
        _ => other(file)?,
    };
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let (bytes, channels) = pixels(image, format);
    let tensor = Boxed { dtype: DType::U8, shape: vec![height, width, channels], bytes };
    let handle = args.host().add(Object::Sequence(vec![Object::Tensor(Arc::new(tensor))]));
    args.output::<u64>()?.fill(handle);
    Ok(())
}

fn unreadable(e: impl std::fmt::Display) -> KernelError {
    error(format!("cannot decode the image: {e}"))
}

/// The pixels of a JPEG file.
fn jpeg(file: &[u8]) -> Result<RgbImage, KernelError> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(file), options);
    let bytes = decoder.decode().map_err(|e| unreadable(format!("{e:?}")))?;
    let (width, height) = decoder.dimensions().ok_or_else(|| unreadable("it has no header"))?;
    let image = RgbImage::from_raw(width as u32, height as u32, bytes);
    image.ok_or_else(|| unreadable("it has too few pixels"))
}

/// The pixels of a JPEG 2000 file.
fn jpeg_2000(file: &[u8]) -> Result<RgbImage, KernelError> {
    let mut image = Image::new(file, &DecodeSettings::default()).map_err(unreadable)?;
    image.set_limits(limits()).map_err(unreadable)?;
    if image.total_bytes() > MAX_BYTES {
        return Err(unreadable(format!("it has more than {MAX_BYTES} bytes of pixels")));
    }
    Ok(DynamicImage::from_decoder(image).map_err(unreadable)?.into_rgb8())
}

/// The pixels of a file of another format.
fn other(file: &[u8]) -> Result<RgbImage, KernelError> {
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(unreadable)?;
    reader.limits(limits());
    Ok(reader.decode().map_err(unreadable)?.into_rgb8())
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    limits
}

/// The bytes of an image in a format, and how many channels it has.
fn pixels(image: RgbImage, format: PixelFormat) -> (Vec<u8>, i64) {
    let mut bytes = image.into_raw();
    match format {
        PixelFormat::Rgb => (bytes, 3),
        PixelFormat::Bgr => {
            bytes.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
            (bytes, 3)
        }
        PixelFormat::Grayscale => (bytes.chunks_exact(3).map(luma).collect(), 1),
    }
}

/// Brightness of an RGB pixel by ITU-R BT.601.
fn luma(pixel: &[u8]) -> u8 {
    let [r, g, b] = [0, 1, 2].map(|i| u32::from(pixel[i]));
    ((r * 19595 + g * 38470 + b * 7471 + (1 << 15)) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Serial;
    use crate::host::Host;
    use crate::library::testing::{Buffer, call};

    #[test]
    fn channels_come_in_order() {
        let host = Host::new(0);
        let file = b"P6 2 1 255 \x01\x02\x03\xff\xff\xff";
        let decode = |format: PixelFormat| {
            let y = [Buffer::out::<u64>(DType::Object, &[])];
            let x = Buffer::new::<u8>(DType::U8, &[file.len()], file);
            call(&IMAGE_DECODE, &[x], &[format.code()], &y, &Serial, &host).unwrap();
            match &host.object(y[0].values::<u64>()[0]).unwrap().elements()[0] {
                Object::Tensor(tensor) => (tensor.shape.clone(), tensor.bytes.clone()),
                other => panic!("expected a tensor, found {other:?}"),
            }
        };
        assert_eq!(decode(PixelFormat::Bgr), (vec![1, 2, 3], vec![3, 2, 1, 255, 255, 255]));
        assert_eq!(decode(PixelFormat::Grayscale), (vec![1, 2, 1], vec![2, 255]));
        let y = [Buffer::out::<u64>(DType::Object, &[])];
        for broken in [b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51", b"\x89PNG"] {
            let broken = Buffer::new::<u8>(DType::U8, &[4], broken);
            assert!(call(&IMAGE_DECODE, &[broken], &[0], &y, &Serial, &host).is_err());
        }
    }
}
