//! Windows over images: which element is under which element of a window.

use super::Site;
use ic_ir::kernel::{Bound, Index};
use ic_ir::ops::Layout;
use ic_types::Dim;

/// An image's axes by their role.
pub(super) struct ImageAxes {
    pub(super) channels: usize,
    pub(super) spatial: Vec<usize>,
}

/// The axes of an image of a rank.
pub(super) fn image_axes(layout: Layout, rank: usize) -> ImageAxes {
    match layout {
        Layout::ChannelsFirst => ImageAxes { channels: 1, spatial: (2..rank).collect() },
        Layout::ChannelsLast => ImageAxes { channels: rank - 1, spatial: (1..rank - 1).collect() },
    }
}

/// How windows lie on an image.
pub(super) struct Window<'a> {
    pub(super) strides: &'a [usize],
    pub(super) dilations: &'a [usize],
    /// Before along each spatial axis, then after.
    pub(super) pads: &'a [Dim],
}

impl Window<'_> {
    /// The coordinate on spatial axis `axis` under the element that inner axis `inner` says, for the window at the point.
    pub(super) fn coordinate(&self, image: &ImageAxes, axis: usize, inner: usize) -> Index {
        let position = Index::axis(image.spatial[axis]).times(&Dim::constant(self.strides[axis] as i64));
        let element = Index::axis(inner).times(&Dim::constant(self.dilations[axis] as i64));
        position.plus(&element).plus(&Index::constant(-self.pads[axis].clone()))
    }

    /// Whether no window reaches beyond the image.
    pub(super) fn is_inside(&self) -> bool {
        self.pads.iter().all(|pad| pad.is(0))
    }
}

/// The indices of an image's element: the result's batch, `channel`, and coordinates on the spatial axes; with the
/// bounds within which it is on the image.
pub(super) fn element(
    site: &Site,
    image: &ImageAxes,
    channel: Index,
    coordinates: &[Index],
    check: bool,
) -> Result<(Vec<Index>, Vec<Bound>), String> {
    let shape = site.shape_of(0)?;
    let mut indices = site.axes();
    indices[image.channels] = channel;
    let mut bounds = Vec::new();
    for (&axis, coordinate) in image.spatial.iter().zip(coordinates) {
        indices[axis] = coordinate.clone();
        if check {
            let (low, high) = (Dim::constant(0), shape[axis].clone());
            bounds.push(Bound { index: coordinate.clone(), low, high });
        }
    }
    Ok((indices, bounds))
}
