//! Layout 1 of a matrix `[K, N]`: `[ceil(N / 16)][K][16]`, padded with zeros.

use super::PANEL;

/// Number of f32 elements of a packed matrix `[k, n]`.
pub fn matmul_b_len(k: usize, n: usize) -> usize {
    n.div_ceil(PANEL) * k * PANEL
}

/// Packs a matrix `[k, n]` into `dst`, of [`matmul_b_len`] elements. `row(i, buffer)` writes row `i`, of `n` elements,
/// to `buffer`; it is called once for each row in order.
pub fn pack_matmul_b(k: usize, n: usize, mut row: impl FnMut(usize, &mut [f32]), dst: &mut [f32]) {
    let mut buffer = vec![0.0; n.next_multiple_of(PANEL)];
    for i in 0..k {
        row(i, &mut buffer[..n]);
        for (panel, values) in buffer.chunks_exact(PANEL).enumerate() {
            let at = (panel * k + i) * PANEL;
            dst[at..at + PANEL].copy_from_slice(values);
        }
    }
}

/// Packs a matrix `[k, n]` that is stored transposed, `[n, k]`, into `dst`, of [`matmul_b_len`] elements.
/// `column(j, buffer)` writes column `j`, of `k` elements, to `buffer`; it is called once for each column in order.
pub fn pack_matmul_b_transposed(k: usize, n: usize, mut column: impl FnMut(usize, &mut [f32]), dst: &mut [f32]) {
    let mut buffer = vec![0.0; k * PANEL];
    for panel in 0..n.div_ceil(PANEL) {
        let width = PANEL.min(n - panel * PANEL);
        for lane in 0..width {
            column(panel * PANEL + lane, &mut buffer[lane * k..][..k]);
        }
        let packed = &mut dst[panel * k * PANEL..][..k * PANEL];
        for (i, lanes) in packed.chunks_exact_mut(PANEL).enumerate() {
            for (lane, value) in lanes.iter_mut().enumerate() {
                *value = if lane < width { buffer[lane * k + i] } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_give_the_same_panels() {
        let (k, n) = (3, 18);
        let value = |i: usize, j: usize| (i * 100 + j + 1) as f32;
        let mut by_row = vec![f32::NAN; matmul_b_len(k, n)];
        pack_matmul_b(k, n, |i, row| row.iter_mut().enumerate().for_each(|(j, v)| *v = value(i, j)), &mut by_row);
        let mut by_column = vec![f32::NAN; matmul_b_len(k, n)];
        let fill = |j: usize, column: &mut [f32]| column.iter_mut().enumerate().for_each(|(i, v)| *v = value(i, j));
        pack_matmul_b_transposed(k, n, fill, &mut by_column);
        assert_eq!(by_row, by_column);
        assert_eq!(by_row[PANEL], value(1, 0));
        assert_eq!(by_row[(k + 2) * PANEL + 1], value(2, 17));
        assert_eq!(by_row[(k + 2) * PANEL + 2], 0.0);
    }
}
