//! ONNX `Conv`.

use super::prelude::*;
use super::sliding::{Window, spatial};
use ic_ir::ops::{ConvAlgorithm, Convolution, Layout};

/// Number of groups of channels.
pub(super) fn groups(node: &NodeView) -> Result<usize> {
    let group = node.int("group").unwrap_or(1);
    usize::try_from(group).ok().filter(|&g| g > 0).ok_or_else(|| invalid!("`group` must be positive, found {group}"))
}

/// `Conv`.
pub(super) fn conv(cx: &mut Context, node: &NodeView) -> Results {
    let (x, w) = (node.input(0)?, node.input(1)?);
    let (space, weights) = (spatial(cx, x)?, spatial(cx, w)?);
    let window = Window::new(node, &space, Some(&weights))?;
    let op = Convolution {
        strides: window.strides,
        pads: window.pads,
        dilations: window.dilations,
        groups: groups(node)?,
        layout: Layout::ChannelsFirst,
        algorithm: ConvAlgorithm::Direct,
    };
    cx.push_all(op, &[Some(x), Some(w), node.opt(2)])
}
