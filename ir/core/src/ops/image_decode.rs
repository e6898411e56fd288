//! `image_decode`: pixels of image files. ONNX `ImageDecoder`.

use super::sequences::{object_type, sequence};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::{DType, Object, Tensor};

crate::word_attr! {
    /// Channels of a decoded image.
    PixelFormat {
        /// Red, green, blue.
        Rgb = "rgb",
        /// Blue, green, red.
        Bgr = "bgr",
        /// Brightness by ITU-R BT.601.
        Grayscale = "grayscale",
    }
}

crate::attrs! {
    /// The u8 image `[height, width, channels]` in a file of BMP, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP, as a sequence of
    /// one tensor. Evaluation reads files of binary PPM with 8 bits a channel alone.
    ImageDecode {
        /// The channels.
        format: PixelFormat
    }
}

impl OpDef for ImageDecode {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype == DType::U8 && ty.rank() == 1, "`x` must be u8[n], found {ty}");
        Ok(vec![object_type().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let file = x.get(0)?.elements::<u8>().ok_or_else(|| OpError::new("`x` must be u8"))?;
        let ([width, height], pixels) =
            binary_ppm(file).ok_or_else(|| OpError::new("evaluation reads binary PPM alone"))?;
        let (channels, bytes) = match self.format {
            PixelFormat::Rgb => (3, pixels.to_vec()),
            PixelFormat::Bgr => (3, pixels.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect()),
            PixelFormat::Grayscale => (1, pixels.chunks_exact(3).map(luma).collect()),
        };
        Ok(sequence(vec![Object::Tensor(Tensor::from_elements(vec![height, width, channels], bytes))]))
    }

    fn is_foldable(&self) -> bool {
        false
    }
}

fn luma(pixel: &[u8]) -> u8 {
    let [r, g, b] = [0, 1, 2].map(|i| u32::from(pixel[i]));
    ((r * 19595 + g * 38470 + b * 7471 + (1 << 15)) >> 16) as u8
}

/// Width, height and bytes of a file `P6 width height 255` without comments.
fn binary_ppm(file: &[u8]) -> Option<([usize; 2], &[u8])> {
    let mut rest = file.strip_prefix(b"P6")?;
    let mut numbers = [0usize; 3];
    for number in &mut numbers {
        rest = rest.trim_ascii_start();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        rest = &rest[digits..];
    }
    let pixels = rest.get(1..)?;
    let len = numbers[0].checked_mul(numbers[1])?.checked_mul(3)?;
    (numbers[2] == 255 && pixels.len() == len).then_some(([numbers[0], numbers[1]], pixels))
}
