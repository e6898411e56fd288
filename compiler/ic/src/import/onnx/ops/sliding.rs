//! What convolutions and pools share: the geometry of a sliding window.

use super::prelude::*;

/// Geometry of a window that slides over the spatial axes.
#[derive(Debug)]
pub(super) struct Window {
    /// Extents.
    pub(super) kernel: Vec<Dim>,
    /// Distance of windows.
    pub(super) strides: Vec<usize>,
    /// Distance of a window's elements.
    pub(super) dilations: Vec<usize>,
    /// Begins, then ends.
    pub(super) pads: Vec<Dim>,
}

/// A list of positive numbers, one per spatial axis; all 1 where the attribute is absent.
pub(super) fn per_axis(node: &NodeView, name: &str, n: usize) -> Result<Vec<usize>> {
    let Some(ints) = node.ints(name).filter(|ints| !ints.is_empty()) else { return Ok(vec![1; n]) };
    let numbers: Option<Vec<usize>> = ints.iter().map(|&i| usize::try_from(i).ok().filter(|&i| i > 0)).collect();
    let fits = numbers.filter(|numbers| numbers.len() == n && numbers.iter().all(|&i| i <= i32::MAX as usize));
    fits.ok_or_else(|| invalid!("attribute `{name}` must be {n} positive numbers, found {ints:?}"))
}

/// The spatial extents of an image `[batch, channels, …]`.
pub(super) fn spatial(cx: &Context, x: ValueId) -> Result<Vec<Dim>> {
    match cx.shape(x)?.as_slice() {
        [_, _, space @ ..] => Ok(space.to_vec()),
        shape => Err(invalid!("`X` must have a batch and channels, found rank {}", shape.len())),
    }
}

impl Window {
    /// The window that the node's attributes describe, over an image of these extents. `weights` gives the kernel
    /// where the attribute is absent.
    ///
    /// # Errors
    /// If attributes do not fit the image.
    pub(super) fn new(node: &NodeView, space: &[Dim], weights: Option<&[Dim]>) -> Result<Window> {
        let n = space.len();
        let kernel = match (node.ints("kernel_shape").filter(|k| !k.is_empty()), weights) {
            (None, Some(weights)) if weights.len() == n => weights.to_vec(),
            (None, Some(weights)) => {
                return Err(invalid!("weights of {} spatial axes for an image of {n}", weights.len()));
            }
            (None, None) => return Err(invalid!("attribute `kernel_shape` is missing")),
            _ => per_axis(node, "kernel_shape", n)?.into_iter().map(|extent| Dim::constant(extent as i64)).collect(),
        };
        let (strides, dilations) = (per_axis(node, "strides", n)?, per_axis(node, "dilations", n)?);
        let mut window = Window { kernel, strides, dilations, pads: vec![Dim::constant(0); 2 * n] };
        window.pads = match node.text("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" | "" => match node.ints("pads") {
                Some(pads) if pads.len() == 2 * n => pads.iter().map(|&p| Dim::constant(p)).collect(),
                Some(pads) if !pads.is_empty() => {
                    return Err(invalid!("`pads` must have {} elements, found {}", 2 * n, pads.len()));
                }
                _ => window.pads,
            },
            "VALID" => window.pads,
            "SAME_UPPER" => window.same_pads(space, false),
            "SAME_LOWER" => window.same_pads(space, true),
            other => return Err(invalid!("attribute `auto_pad` is `{other}`")),
        };
        Ok(window)
    }

    /// Its extents as constants.
    ///
    /// # Errors
    /// If one is symbolic.
    pub(super) fn constant_kernel(&self) -> Result<Vec<usize>> {
        let constant = |extent: &Dim| extent.as_const().and_then(|extent| usize::try_from(extent).ok());
        let kernel = self.kernel.iter().map(constant).collect::<Option<_>>();
        kernel.ok_or_else(|| unsupported!("the kernel has a symbolic extent"))
    }

    /// Extent of the window along an axis, gaps included.
    pub(super) fn reach(&self, axis: usize) -> Dim {
        (self.kernel[axis].clone() - Dim::constant(1)) * Dim::constant(self.dilations[axis] as i64) + Dim::constant(1)
    }

    /// Pads with which the result has `ceil(extent / stride)` elements; the odd one goes to the end unless `lower`.
    fn same_pads(&self, space: &[Dim], lower: bool) -> Vec<Dim> {
        let (mut begins, mut ends) = (Vec::new(), Vec::new());
        for (axis, extent) in space.iter().enumerate() {
            let stride = Dim::constant(self.strides[axis] as i64);
            let last = (extent.ceil_div(&stride) - Dim::constant(1)) * stride;
            let total = (last + self.reach(axis) - extent.clone()).maximum(&Dim::constant(0));
            let (floor, ceil) = (total.floor_div(&Dim::constant(2)), total.ceil_div(&Dim::constant(2)));
            begins.push(if lower { ceil.clone() } else { floor.clone() });
            ends.push(if lower { floor } else { ceil });
        }
        begins.append(&mut ends);
        begins
    }
}
