//! Layouts of constant operands of library kernels.

use super::WidenedShape;
use super::evaluate::{row_major, strided};
use ic_kernels::pack::{self, Bytes, ConvTransposeShape, ConvWeightShape, Int8ConvShape, Scaled, Segments};
use ic_types::{Data, Tensor};
use std::io;

/// A layout of constant operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Packing {
    /// The right operand of a matrix product, `[K, N]` row-major.
    MatmulB {
        /// Rows.
        k: usize,
        /// Columns.
        n: usize,
    },
    /// The right operands of products with chosen matrices, `[count, K, N]`, one after the other.
    Experts {
        /// Matrices.
        count: usize,
        /// Rows of each.
        k: usize,
        /// Columns of each.
        n: usize,
    },
    /// A vector that is added to the columns of a product, or that they are multiplied by.
    Columns {
        /// Elements.
        len: usize,
    },
    /// The right operand of a matrix product as integers with scales.
    Scaled(Scaled),
    /// The same in the order of fragments of a GPU's tensor cores.
    Widened(WidenedShape),
    /// Convolution weights.
    Conv(ConvWeightShape),
    /// Weights of a Winograd convolution.
    Winograd {
        /// Output channels.
        outputs: usize,
        /// Input channels.
        inputs: usize,
    },
    /// Depthwise convolution weights.
    Depthwise {
        /// Channels.
        channels: usize,
        /// Filter rows and columns.
        kernel: [usize; 2],
    },
    /// Transposed convolution weights.
    ConvTranspose(ConvTransposeShape),
    /// The right operand of an integer matrix product, `[K, N]` row-major.
    Int8Matmul {
        /// Rows.
        k: usize,
        /// Columns.
        n: usize,
    },
    /// Weights of an integer convolution.
    Int8Conv(Int8ConvShape),
    /// Weights of an integer depthwise convolution.
    Int8Depthwise {
        /// Channels.
        channels: usize,
        /// Filter rows and columns.
        kernel: [usize; 2],
    },
    /// Weights of a recurrent layer, `[directions, gates * hidden, k]`.
    Recurrent {
        /// Directions.
        directions: usize,
        /// Gates.
        gates: usize,
        /// Hidden units.
        hidden: usize,
        /// Inputs of each unit.
        k: usize,
    },
    /// As row-major tensor of other axes, for f32 and 16-bit floats.
    Permuted {
        /// The shape of the constant.
        shape: Vec<usize>,
        /// Which of its axes each axis is.
        perm: Vec<usize>,
    },
    /// 8-bit weights of a recurrent layer, `[directions, k, gates * hidden]`.
    Int8Recurrent {
        /// Directions.
        directions: usize,
        /// Gates.
        gates: usize,
        /// Hidden units.
        hidden: usize,
        /// Inputs of each unit.
        k: usize,
    },
}

impl Packing {
    /// Bytes after packing.
    pub(super) fn bytes(&self) -> usize {
        let floats = match self {
            Packing::MatmulB { k, n } => pack::matmul_b_len(*k, *n),
            Packing::Experts { count, k, n } => count * pack::matmul_b_len(*k, *n),
            Packing::Columns { len } => *len,
            Packing::Conv(shape) => pack::conv_weights_len(*shape),
            Packing::Winograd { outputs, inputs } => pack::winograd_weights_len(*outputs, *inputs),
            Packing::Depthwise { channels, kernel: [h, w] } => pack::depthwise_weights_len(*channels, *h, *w),
            Packing::ConvTranspose(shape) => pack::conv_transpose_weights_len(*shape),
            Packing::Recurrent { directions, gates, hidden, k } => {
                pack::recurrent_weights_len(*directions, *gates, *hidden, *k)
            }
            Packing::Scaled(shape) => return shape.packed_bytes(),
            Packing::Widened(shape) => return shape.bytes(),
            Packing::Permuted { shape, .. } => shape.iter().product(),
            Packing::Int8Matmul { k, n } => return Segments { count: 1, len: *k }.packed_bytes(*n),
            Packing::Int8Conv(shape) => return shape.packed_bytes(),
            Packing::Int8Recurrent { directions, gates, hidden, k } => {
                return pack::int8_recurrent_bytes(*directions, *gates, *hidden, *k);
            }
            Packing::Int8Depthwise { channels, kernel } => {
                return pack::int8_depthwise_segments(*kernel).packed_bytes(*channels);
            }
        };
        floats * size_of::<f32>()
    }

    /// Packs integers with their scales.
    pub(super) fn packed_scaled(&self, integers: &Tensor, scales: &Tensor) -> io::Result<Tensor> {
        let problem = || io::Error::other("weights with scales must be signed integers with f32 scales");
        let (Packing::Scaled(shape), Data::I8(elements) | Data::I4(elements)) = (self, integers.data()) else {
            return Err(problem());
        };
        let mut packed = vec![0; self.bytes()];
        pack::pack_scaled(*shape, elements, scales.elements::<f32>().ok_or_else(problem)?, &mut packed);
        Ok(Tensor::new(vec![packed.len()], Data::U8(packed)))
    }

    /// Packs a row-major tensor. Subnormal floats become 0: training leaves many in filters that do nothing, and processors
    /// multiply them a hundred times slower than others.
    pub(super) fn packed(&self, tensor: &Tensor) -> io::Result<Tensor> {
        if let Packing::Permuted { shape, perm } = self {
            return permuted(tensor, shape, perm)
                .ok_or_else(|| io::Error::other("permuted weights must be f32 or 16-bit floats of the shape"));
        }
        if let Some((elements, bytes)) = bytes_of(tensor) {
            let mut packed = vec![0; self.bytes()];
            self.pack_bytes(&elements, bytes, &mut packed)?;
            return Ok(Tensor::new(vec![packed.len()], Data::U8(packed)));
        }
        let elements =
            tensor.elements::<f32>().ok_or_else(|| io::Error::other("packed weights must be f32 or 8-bit"))?;
        let mut packed = vec![0.0; self.bytes() / size_of::<f32>()];
        self.pack(elements, &mut packed)?;
        for x in packed.iter_mut().filter(|x| x.is_subnormal()) {
            *x = 0.0;
        }
        Ok(Tensor::from_elements(vec![packed.len()], packed))
    }

    /// Packs row-major floats.
    fn pack(&self, elements: &[f32], packed: &mut [f32]) -> io::Result<()> {
        let filter =
            |i: usize, buffer: &mut [f32]| buffer.copy_from_slice(&elements[i * buffer.len()..][..buffer.len()]);
        match self {
            Packing::MatmulB { k, n } => pack::pack_matmul_b(*k, *n, filter, packed),
            Packing::Experts { count, k, n } => {
                let (matrix, len) = (k * n, pack::matmul_b_len(*k, *n));
                for expert in 0..*count {
                    let rows =
                        |i: usize, row: &mut [f32]| row.copy_from_slice(&elements[expert * matrix + i * n..][..*n]);
                    pack::pack_matmul_b(*k, *n, rows, &mut packed[expert * len..][..len]);
                }
            }
            Packing::Columns { .. } => filter(0, packed),
            Packing::Conv(shape) => pack::pack_conv_weights(*shape, filter, packed),
            Packing::Winograd { outputs, inputs } => pack::pack_winograd_weights(*outputs, *inputs, filter, packed),
            Packing::Depthwise { channels, kernel: [h, w] } => {
                pack::pack_depthwise_weights(*channels, *h, *w, filter, packed);
            }
            Packing::ConvTranspose(shape) => pack::pack_conv_transpose_weights(*shape, filter, packed),
            Packing::Recurrent { directions, gates, hidden, k } => {
                pack::pack_recurrent_weights(*directions, *gates, *hidden, *k, filter, packed);
            }
            Packing::Scaled(_)
            | Packing::Widened(_)
            | Packing::Permuted { .. }
            | Packing::Int8Matmul { .. }
            | Packing::Int8Conv(_)
            | Packing::Int8Depthwise { .. }
            | Packing::Int8Recurrent { .. } => {
                return Err(io::Error::other("weights of integer contractions must be 8-bit"));
            }
        }
        Ok(())
    }

    /// Packs row-major bytes.
    fn pack_bytes(&self, elements: &[u8], bytes: Bytes, packed: &mut [u8]) -> io::Result<()> {
        match self {
            Packing::Int8Matmul { k, n } => pack::pack_int8_matmul(*k, *n, bytes, elements, packed),
            Packing::Int8Conv(shape) => pack::pack_int8_conv(*shape, bytes, elements, packed),
            Packing::Int8Depthwise { channels, kernel } => {
                pack::pack_int8_depthwise(*channels, *kernel, bytes, elements, packed);
            }
            Packing::Int8Recurrent { directions, gates, hidden, k } => {
                pack::pack_int8_recurrent(*directions, *gates, *hidden, *k, bytes, elements, packed);
            }
            Packing::Permuted { .. }
            | Packing::MatmulB { .. }
            | Packing::Experts { .. }
            | Packing::Columns { .. }
            | Packing::Scaled(_)
            | Packing::Widened(_)
            | Packing::Conv(_)
            | Packing::Winograd { .. }
            | Packing::Depthwise { .. }
            | Packing::ConvTranspose(_)
            | Packing::Recurrent { .. } => {
                return Err(io::Error::other("weights of f32 contractions must be f32"));
            }
        }
        Ok(())
    }
}

/// A tensor with its axes in another order, if it has the shape and elements of a packed type.
fn permuted(tensor: &Tensor, shape: &[usize], perm: &[usize]) -> Option<Tensor> {
    if tensor.shape() != shape {
        return None;
    }
    let source = row_major(shape);
    let extents: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
    let strides: Vec<usize> = perm.iter().map(|&axis| source[axis]).collect();
    let data = match tensor.data() {
        Data::F32(elements) => Data::F32(strided(elements, &extents, &strides)),
        Data::F16(elements) => Data::F16(strided(elements, &extents, &strides)),
        Data::BF16(elements) => Data::BF16(strided(elements, &extents, &strides)),
        _ => return None,
    };
    Some(Tensor::new(extents, data))
}

/// The elements of a tensor of 8-bit integers, and how they are meant.
fn bytes_of(tensor: &Tensor) -> Option<(Vec<u8>, Bytes)> {
    match tensor.data() {
        Data::U8(_) => Some((tensor.data().to_le_bytes().to_vec(), Bytes::Unsigned)),
        Data::I8(_) => Some((tensor.data().to_le_bytes().to_vec(), Bytes::Signed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnormal_weights_become_zeros() {
        let (least, tiny) = (f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0);
        let tensor = Tensor::from_elements(vec![2, 2], vec![tiny, -tiny, least, -1.0]);
        let columns = Packing::Columns { len: 4 }.packed(&tensor).unwrap();
        assert_eq!(columns.elements::<f32>().unwrap(), [0.0, 0.0, least, -1.0]);
        let panel = Packing::MatmulB { k: 2, n: 2 }.packed(&tensor).unwrap();
        assert!(panel.elements::<f32>().unwrap().iter().all(|x| !x.is_subnormal()));
    }
}
