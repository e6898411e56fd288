//! `MatMulNBits` of com.microsoft: a product with a weight of 4 or 8 bits, quantized in blocks along K.

use super::prelude::*;
use ic_ir::ops::Dequantize;

pub(super) const OPS: &[super::Row] = &[(super::MICROSOFT, "MatMulNBits", matmul_nbits)];

/// The blocks of a weight.
struct Blocks {
    k: i64,
    n: i64,
    bits: i64,
    /// Elements along K that share a scale.
    size: i64,
}

impl Blocks {
    fn of(node: &NodeView) -> Result<Blocks> {
        let attribute = |name: &str| super::attention::positive(node, name);
        let (k, n, size) = (attribute("K")?, attribute("N")?, attribute("block_size")?);
        match node.int("bits").unwrap_or(4) {
            bits @ (4 | 8) => Ok(Blocks { k, n, bits, size }),
            bits => Err(unsupported!("weights of {bits} bits")),
        }
    }

    /// Blocks along K.
    fn count(&self) -> i64 {
        (self.k - 1) / self.size + 1
    }

    /// `rows` rows of `columns` elements out of bytes, the low half of each first, as U8.
    fn unpacked(&self, cx: &mut Context, bytes: ValueId, columns: i64) -> Result<ValueId> {
        let per_byte = 8 / self.bits;
        let bytes_per_row = (columns - 1) / per_byte + 1;
        let bytes = cx.reshape(bytes, vec![Dim::constant(self.n), Dim::constant(bytes_per_row)])?;
        if self.bits == 8 {
            return Ok(bytes);
        }
        let low = cx.with_scalar(ScalarOp::BitAnd, bytes, 15.0)?;
        let high = cx.with_scalar(ScalarOp::Div, bytes, 16.0)?;
        let (low, high) = (cx.unsqueeze(low, &[2])?, cx.unsqueeze(high, &[2])?);
        let pairs = cx.concat(&[low, high], 2)?;
        let all = cx.reshape(pairs, vec![Dim::constant(self.n), Dim::constant(2 * bytes_per_row)])?;
        cx.slice(all, 1, Dim::constant(0), Dim::constant(columns))
    }

    /// Integers about 0 that the middle of the range was added to.
    fn centred(&self, cx: &mut Context, x: ValueId) -> Result<ValueId> {
        let wide = cx.cast(x, DType::I16)?;
        let centred = cx.with_scalar(ScalarOp::Sub, wide, (1 << (self.bits - 1)) as f64)?;
        cx.cast(centred, if self.bits == 4 { DType::I4 } else { DType::I8 })
    }
}

/// `MatMulNBits`: `a: [.., K]`, the weight's bytes `[N, blocks, bytes]`, scales `[N, blocks]`, zero points, an order of
/// blocks, a bias `[N]`.
fn matmul_nbits(cx: &mut Context, node: &NodeView) -> Results {
    if node.opt(4).is_some() {
        return Err(unsupported!("an order of groups, `g_idx`"));
    }
    let blocks = Blocks::of(node)?;
    let count = blocks.count();
    // The last block is whole in memory.
    let padded = blocks.unpacked(cx, node.input(1)?, count * blocks.size)?;
    let weight = cx.slice(padded, 1, Dim::constant(0), Dim::constant(blocks.k))?;
    let weight = blocks.centred(cx, weight)?;
    let weight = cx.transpose_last(weight)?;
    let scales = cx.reshape(node.input(2)?, vec![Dim::constant(blocks.n), Dim::constant(count)])?;
    let scales = cx.transpose_last(scales)?;
    let zeros = match node.opt(3) {
        Some(zeros) if cx.dtype(zeros)? == DType::U8 => {
            let zeros = blocks.unpacked(cx, zeros, count)?;
            let zeros = blocks.centred(cx, zeros)?;
            Some(cx.transpose_last(zeros)?)
        }
        Some(_) => return Err(unsupported!("zero points that are floats")),
        None => None,
    };
    let a = node.input(0)?;
    let op = Dequantize { axis: 0, block_size: blocks.size as usize, to: cx.dtype(a)? };
    let weight = cx.push_all(op, &[Some(weight), Some(scales), zeros])?[0];
    let product = super::matmul::product(cx, a, weight)?;
    match node.opt(5) {
        Some(bias) => Ok(vec![cx.binary(ScalarOp::Add, product, bias)?]),
        None => Ok(vec![product]),
    }
}
