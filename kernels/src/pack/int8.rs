//! Packed 8-bit weights.
//!
//! A matrix `[K, N]` of signed bytes is `[ceil(N / 16)][K / 4][16][4]`: panels of 16 columns in which four neighbours on
//! K lie together, padded with zeros. K consists of segments, each padded to a multiple of 4 on its own. The sums of the
//! columns follow as `[ceil(N / 16) * 16]` i32: what a zero point of the other factor is multiplied by. Unsigned bytes
//! are stored less 128.
//!
//! - A matrix product has one segment.
//! - A convolution has one for each tap, or for each row of the filter ([`Int8ConvShape::joins_rows`]), and a matrix for
//!   each group.
//! - A recurrent layer has a matrix for each direction, in which each gate is padded to whole panels.
//! - A depthwise convolution has a segment for each column of the filter: `[ceil(C / 16)][columns][ceil(rows / 4)][16][4]`
//!   and the sums.

use super::PANEL;
use super::conv::ConvWeightShape;

/// Neighbours on K that lie together.
const QUAD: usize = 4;

/// Segments of K.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Segments {
    /// How many.
    pub count: usize,
    /// Elements of each.
    pub len: usize,
}

impl Segments {
    /// Groups of four on K.
    pub(crate) fn quads(self) -> usize {
        self.count * self.len.div_ceil(QUAD)
    }

    /// Bytes of a packed panel.
    pub(crate) fn panel_bytes(self) -> usize {
        self.quads() * QUAD * PANEL
    }

    /// Bytes of the panels of `n` columns.
    pub(crate) fn panel_bytes_of(self, n: usize) -> usize {
        n.div_ceil(PANEL) * self.panel_bytes()
    }

    /// Bytes of a packed matrix of `n` columns with its sums.
    pub fn packed_bytes(self, n: usize) -> usize {
        n.div_ceil(PANEL) * (self.panel_bytes() + PANEL * size_of::<i32>())
    }
}

/// How the bytes of weights are meant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bytes {
    /// -128 to 127.
    Signed,
    /// 0 to 255.
    Unsigned,
}

impl Bytes {
    /// What is added to a byte, and so to its zero point, to make it signed.
    pub(crate) fn shift(self) -> i32 {
        match self {
            Bytes::Signed => 0,
            Bytes::Unsigned => -128,
        }
    }
}

/// Packs a matrix of `n` columns; `at(segment, i, column)` is element `i` of a segment.
fn pack(segments: Segments, n: usize, bytes: Bytes, at: impl Fn(usize, usize, usize) -> u8, dst: &mut [u8]) {
    dst.fill(0);
    let (panel_bytes, quads) = (segments.panel_bytes(), segments.len.div_ceil(QUAD));
    let (matrix, sums) = dst.split_at_mut(n.div_ceil(PANEL) * panel_bytes);
    for column in 0..n {
        let panel = &mut matrix[column / PANEL * panel_bytes..][..panel_bytes];
        let mut sum = 0i32;
        for segment in 0..segments.count {
            for i in 0..segments.len {
                let byte = at(segment, i, column);
                let signed = if bytes == Bytes::Unsigned { byte ^ 0x80 } else { byte };
                sum = sum.wrapping_add(i32::from(signed as i8));
                let quad = segment * quads + i / QUAD;
                panel[(quad * PANEL + column % PANEL) * QUAD + i % QUAD] = signed;
            }
        }
        sums[column * 4..][..4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Packs a row-major matrix `[k, n]` into `dst`, of [`Segments::packed_bytes`] bytes.
pub fn pack_int8_matmul(k: usize, n: usize, bytes: Bytes, elements: &[u8], dst: &mut [u8]) {
    pack(Segments { count: 1, len: k }, n, bytes, |_, i, column| elements[i * n + column], dst);
}

/// Extents of 8-bit convolution weights, with what decides their segments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Int8ConvShape {
    /// The extents.
    pub weights: ConvWeightShape,
    /// Pixels between columns of the filter.
    pub dilation_w: usize,
}

impl Int8ConvShape {
    /// Whether a row of the filter is one segment rather than a tap: where taps would be padded.
    pub(crate) fn joins_rows(self) -> bool {
        let ConvWeightShape { inputs, kernel_w, groups, .. } = self.weights;
        groups == 1 && self.dilation_w == 1 && kernel_w > 1 && !inputs.is_multiple_of(QUAD)
    }

    /// The segments of one group.
    pub fn segments(self) -> Segments {
        let ConvWeightShape { inputs, kernel_h, kernel_w, .. } = self.weights;
        match self.joins_rows() {
            true => Segments { count: kernel_h, len: kernel_w * inputs },
            false => Segments { count: kernel_h * kernel_w, len: inputs },
        }
    }

    /// Bytes of the packed weights of all groups.
    pub fn packed_bytes(self) -> usize {
        self.weights.groups * self.segments().packed_bytes(self.weights.group_outputs())
    }
}

/// Packs convolution weights `[outputs, inputs, kernel_h, kernel_w]` into `dst`, of [`Int8ConvShape::packed_bytes`].
pub fn pack_int8_conv(shape: Int8ConvShape, bytes: Bytes, elements: &[u8], dst: &mut [u8]) {
    let ConvWeightShape { inputs, kernel_h, kernel_w, .. } = shape.weights;
    let (segments, n) = (shape.segments(), shape.weights.group_outputs());
    let (taps, filter) = (kernel_h * kernel_w, shape.weights.filter_len());
    for group in 0..shape.weights.groups {
        let at = |segment: usize, i: usize, column: usize| {
            let (tap, channel) = match shape.joins_rows() {
                true => (segment * kernel_w + i / inputs, i % inputs),
                false => (segment, i),
            };
            elements[(group * n + column) * filter + channel * taps + tap]
        };
        let len = segments.packed_bytes(n);
        pack(segments, n, bytes, at, &mut dst[group * len..][..len]);
    }
}

/// The segments of a depthwise filter of `[kernel_h, kernel_w]`.
pub fn int8_depthwise_segments([kernel_h, kernel_w]: [usize; 2]) -> Segments {
    Segments { count: kernel_w, len: kernel_h }
}

/// Packs depthwise weights `[channels, 1, kernel_h, kernel_w]` into `dst`, of the bytes that
/// [`Segments::packed_bytes`] says for [`int8_depthwise_segments`].
pub fn pack_int8_depthwise(channels: usize, kernel: [usize; 2], bytes: Bytes, elements: &[u8], dst: &mut [u8]) {
    let [kernel_h, kernel_w] = kernel;
    let at = |kw: usize, kh: usize, channel: usize| elements[(channel * kernel_h + kh) * kernel_w + kw];
    pack(int8_depthwise_segments(kernel), channels, bytes, at, dst);
}

/// Bytes of the packed weights of a recurrent layer whose rows have `k` elements.
pub fn int8_recurrent_bytes(directions: usize, gates: usize, hidden: usize, k: usize) -> usize {
    directions * Segments { count: 1, len: k }.packed_bytes(gates * hidden.next_multiple_of(PANEL))
}

/// Packs recurrent weights `[directions, k, gates * hidden]` into `dst`, of [`int8_recurrent_bytes`] bytes.
pub fn pack_int8_recurrent(
    directions: usize,
    gates: usize,
    hidden: usize,
    k: usize,
    bytes: Bytes,
    elements: &[u8],
    dst: &mut [u8],
) {
    let padded = hidden.next_multiple_of(PANEL);
    let segments = Segments { count: 1, len: k };
    let len = segments.packed_bytes(gates * padded);
    // What is 0 once it is signed.
    let zero = if bytes == Bytes::Unsigned { 0x80 } else { 0 };
    for direction in 0..directions {
        let at = |_: usize, i: usize, column: usize| match column % padded {
            unit if unit < hidden => elements[((direction * k + i) * gates + column / padded) * hidden + unit],
            _ => zero,
        };
        pack(segments, gates * padded, bytes, at, &mut dst[direction * len..][..len]);
    }
}
