//! Packed integers with scales: the right operand of a product of floats, as `dequantize` makes it.
//!
//! A matrix `[K, N]` consists of panels of 16 columns. A panel has the scales, `[ceil(K / group)][16]` f32, and then the
//! integers: `[K][16]` bytes, or for 4 bits `[ceil(K / 2)][16]` bytes with an even row in the low half and the row after
//! it in the high one. What lies beyond the matrix is 0. Element `[k, n]` stands for its integer times the scale of its
//! column in block `k / group`.

use super::PANEL;

/// How wide integers are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// 8 bits.
    Eight,
    /// 4 bits.
    Four,
}

/// A matrix of integers with scales.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scaled {
    /// Rows.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// Rows of a column that share a scale: at least 1, and even for 4 bits unless a column has one scale.
    pub group: usize,
    /// The integers.
    pub width: Width,
}

impl Scaled {
    /// Scales of a column.
    pub(crate) fn groups(self) -> usize {
        self.k.div_ceil(self.group)
    }

    /// Bytes of a panel: a multiple of 16.
    pub(crate) fn panel_bytes(self) -> usize {
        let rows = match self.width {
            Width::Eight => self.k,
            Width::Four => self.k.div_ceil(2),
        };
        self.groups() * PANEL * size_of::<f32>() + rows * PANEL
    }

    /// Bytes of the packed matrix.
    pub fn packed_bytes(self) -> usize {
        self.n.div_ceil(PANEL) * self.panel_bytes()
    }
}

/// Packs row-major integers `[k, n]` with their scales `[ceil(k / group), n]` into `dst`, of [`Scaled::packed_bytes`].
pub fn pack_scaled(shape: Scaled, integers: &[i8], scales: &[f32], dst: &mut [u8]) {
    dst.fill(0);
    let Scaled { k, n, width, .. } = shape;
    let (panel_bytes, scale_bytes) = (shape.panel_bytes(), shape.groups() * PANEL * size_of::<f32>());
    for (panel, packed) in dst.chunks_exact_mut(panel_bytes.max(1)).enumerate() {
        let columns = PANEL.min(n - panel * PANEL);
        let (to_scales, to_integers) = packed.split_at_mut(scale_bytes);
        for group in 0..shape.groups() {
            let from = &scales[group * n + panel * PANEL..][..columns];
            let to = &mut to_scales[group * PANEL * 4..];
            to.chunks_exact_mut(4).zip(from).for_each(|(to, scale)| to.copy_from_slice(&scale.to_le_bytes()));
        }
        for row in 0..k {
            let from = &integers[row * n + panel * PANEL..][..columns];
            match width {
                Width::Eight => {
                    let to = &mut to_integers[row * PANEL..][..columns];
                    to.iter_mut().zip(from).for_each(|(to, &x)| *to = x as u8);
                }
                Width::Four => {
                    let (to, shift) = (&mut to_integers[row / 2 * PANEL..][..columns], row % 2 * 4);
                    to.iter_mut().zip(from).for_each(|(to, &x)| *to |= (x as u8 & 0xf) << shift);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_bytes_are_neighbours_on_k() {
        let shape = Scaled { k: 3, n: 17, group: 2, width: Width::Four };
        let integers: Vec<i8> = (0..51).map(|i| (i % 16) as i8 - 8).collect();
        let scales: Vec<f32> = (0..34).map(|i| i as f32).collect();
        let mut packed = vec![0xff; shape.packed_bytes()];
        pack_scaled(shape, &integers, &scales, &mut packed);
        assert_eq!(packed.len(), 2 * (2 * 64 + 2 * 16));
        // The second panel has one column.
        let second = &packed[160..];
        assert_eq!(second[..4], 16f32.to_le_bytes());
        assert_eq!(second[64..68], 33f32.to_le_bytes());
        let nibble = |row: usize| integers[row * 17 + 16] as u8 & 0xf;
        assert_eq!((second[128], second[144]), (nibble(0) | nibble(1) << 4, nibble(2)));
        assert_eq!(second[129..144], [0; 15]);
    }
}
