//! Windows over an image as rows of a matrix: where element `(row, k)` is.
//!
//! A row is the place of a window: a batch, then a place on each spatial axis. K runs over the elements of the window,
//! then the channels. What lies outside of the image is 0.

use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Compare, Operand, Reg, Ty};
use ic_types::Dim;

/// Windows over an image.
pub(crate) struct Window {
    /// Batches, then places on each spatial axis.
    pub(super) places: Vec<Dim>,
    /// Distance between images in elements.
    pub(super) batch_stride: Dim,
    /// The spatial axes.
    pub(super) axes: Vec<Along>,
    /// Channels of a window.
    pub(super) channels: i64,
    /// Distance between channels in elements.
    pub(super) channel_stride: Dim,
    /// Whether windows reach beyond the image.
    pub(super) is_padded: bool,
}

/// A spatial axis.
pub(crate) struct Along {
    /// Distance between places.
    pub(super) stride: i64,
    /// Distance between elements of a window.
    pub(super) dilation: i64,
    /// How far the first window begins before the image.
    pub(super) pad: Dim,
    /// Elements of a window.
    pub(super) kernel: i64,
    /// The image's extent.
    pub(super) extent: Dim,
    /// Distance between neighbours in elements.
    pub(super) step: Dim,
}

/// A window's first element: its linear index and its coordinates, which may lie outside of the image.
#[derive(Clone)]
pub(super) struct Origin {
    index: Operand,
    coordinates: Vec<Operand>,
}

/// An element of a window: its distance from the first, and that on each spatial axis.
pub(super) struct Tap {
    offset: Operand,
    distances: Vec<Operand>,
}

impl Window {
    /// Whether runs of `n` elements of K that begin at multiples of `n` are neighbours in memory that begin at multiples of
    /// `n` elements of the image.
    pub(super) fn has_runs(&self, n: i64) -> bool {
        let is_multiple = |dim: &Dim| dim.exact_div(&Dim::constant(n)).is_some();
        self.channel_stride.is(1)
            && self.channels % n == 0
            && is_multiple(&self.batch_stride)
            && self.axes.iter().all(|along| is_multiple(&along.step))
    }

    /// The window of row `row`.
    pub(super) fn origin(&self, e: &mut Emitter, row: Operand) -> Origin {
        let places = e.unflatten(row, &self.places);
        let batch_stride = e.dim(&self.batch_stride);
        let mut index = e.b.mul(places[0], batch_stride);
        let mut coordinates = Vec::new();
        for (along, &place) in self.axes.iter().zip(&places[1..]) {
            let start = e.b.mul(place, Operand::Int(along.stride));
            let before = e.dim(&-along.pad.clone());
            let coordinate = e.b.add(start, before);
            let step = e.dim(&along.step);
            let term = e.b.mul(coordinate, step);
            index = e.b.add(index, term);
            coordinates.push(coordinate);
        }
        Origin { index, coordinates }
    }

    /// Element `k` of every window.
    pub(super) fn tap(&self, e: &mut Emitter, k: Operand) -> Tap {
        let (mut rest, channel) = e.b.div_rem(k, Operand::Int(self.channels));
        let channel_stride = e.dim(&self.channel_stride);
        let mut offset = e.b.mul(channel, channel_stride);
        let mut distances = vec![Operand::Int(0); self.axes.len()];
        for (i, along) in self.axes.iter().enumerate().rev() {
            let place;
            (rest, place) =
                if i == 0 { (Operand::Int(0), rest) } else { e.b.div_rem(rest, Operand::Int(along.kernel)) };
            distances[i] = e.b.mul(place, Operand::Int(along.dilation));
            let step = e.dim(&along.step);
            let term = e.b.mul(distances[i], step);
            offset = e.b.add(offset, term);
        }
        Tap { offset, distances }
    }

    /// The linear index of an element of a window, and whether it is on the image.
    pub(super) fn element(&self, e: &mut Emitter, origin: &Origin, tap: &Tap) -> (Operand, Option<Reg>) {
        let index = e.b.add(origin.index, tap.offset);
        let mut inside = None;
        if self.is_padded {
            for (i, along) in self.axes.iter().enumerate() {
                let coordinate = e.b.add(origin.coordinates[i], tap.distances[i]);
                let coordinate = e.b.in_register(Ty::B32, coordinate);
                let extent = e.dim(&along.extent);
                // A negative coordinate is a large one without a sign.
                let on_axis = e.b.compare(Compare::Lt, Ty::U32, coordinate, extent);
                inside = e.b.both(inside, Some(on_axis));
            }
        }
        (index, inside)
    }
}
