//! ONNX ops that move blocks of an image between its channels and its plane: `DepthToSpace`, `SpaceToDepth`.

use super::prelude::*;

/// Whether the channels of a block are outside of its positions or inside.
enum BlockOrder {
    /// `DCR`: positions, then channels.
    PositionsFirst,
    /// `CRD`: channels, then positions.
    ChannelsFirst,
}

fn block_order(node: &NodeView) -> Result<BlockOrder> {
    match node.text("mode") {
        None | Some("DCR" | "") => Ok(BlockOrder::PositionsFirst),
        Some("CRD") => Ok(BlockOrder::ChannelsFirst),
        Some(other) => Err(invalid!("attribute `mode` must be DCR or CRD, found {other}")),
    }
}

/// The extents of an image, and the edge of a block.
fn image(cx: &Context, node: &NodeView) -> Result<([Dim; 4], Dim)> {
    let shape = cx.shape(node.input(0)?)?;
    let image = <[Dim; 4]>::try_from(shape).map_err(|s| invalid!("`input` must have rank 4, found {}", s.len()))?;
    let block = node.int("blocksize").filter(|b| (1..=1 << 16).contains(b));
    Ok((image, Dim::constant(block.ok_or_else(|| invalid!("`blocksize` must be positive"))?)))
}

/// `extent / divisor`, which must not leave a rest where that is known.
fn divided(extent: &Dim, divisor: &Dim) -> Result<Dim> {
    match (extent.as_const(), divisor.as_const()) {
        (Some(n), Some(d)) if n % d != 0 => Err(invalid!("extent {n} is not a multiple of {d}")),
        _ => Ok(extent.floor_div(divisor)),
    }
}

/// `DepthToSpace`: each position's channels become a block of positions.
pub(super) fn depth_to_space(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let ([n, c, h, w], block) = image(cx, node)?;
    let channels = divided(&c, &(block.clone() * block.clone()))?;
    let (b, c) = (block.clone(), channels.clone());
    let (split, perm) = match block_order(node)? {
        BlockOrder::PositionsFirst => ([n.clone(), b.clone(), b, c, h.clone(), w.clone()], vec![0, 3, 4, 1, 5, 2]),
        BlockOrder::ChannelsFirst => ([n.clone(), c, b.clone(), b, h.clone(), w.clone()], vec![0, 1, 4, 2, 5, 3]),
    };
    let blocks = cx.reshape(x, split.to_vec())?;
    let blocks = cx.transpose(blocks, perm)?;
    Ok(vec![cx.reshape(blocks, vec![n, channels, h * block.clone(), w * block])?])
}

/// `SpaceToDepth`: each block of positions becomes the channels of one.
pub(super) fn space_to_depth(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let ([n, c, h, w], block) = image(cx, node)?;
    let (h, w) = (divided(&h, &block)?, divided(&w, &block)?);
    let split = vec![n.clone(), c.clone(), h.clone(), block.clone(), w.clone(), block.clone()];
    let perm = match block_order(node)? {
        BlockOrder::PositionsFirst => vec![0, 3, 5, 1, 2, 4],
        BlockOrder::ChannelsFirst => vec![0, 1, 3, 5, 2, 4],
    };
    let blocks = cx.reshape(x, split)?;
    let blocks = cx.transpose(blocks, perm)?;
    Ok(vec![cx.reshape(blocks, vec![n, c * block.clone() * block, h, w])?])
}
