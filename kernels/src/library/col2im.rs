//! `col2im`: an image of blocks that overlap, which are added.

use super::args::{Args, Shape, error, kernels};
use super::element::{Number, by_number};
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `Col2Im`; `window` is image shape, block shape, dilations, pad begins, pad ends, strides.
    COL2IM = "col2im" ["x"] -> ["y"] {"window[]"}, col2im;
}

/// The lists of the attribute, as extents.
struct Window {
    image: Shape,
    block: Shape,
    dilations: Shape,
    begins: Shape,
    strides: Shape,
    /// Number of blocks along each axis.
    blocks: Shape,
}

fn window(list: &[i64], rank: usize) -> Result<Window, KernelError> {
    if rank == 0 || list.len() != 6 * rank || list.iter().any(|&v| v < 0) {
        return Err(error(format!("expected 6 lists of {rank} extents, found {list:?}")));
    }
    let part = |i: usize| {
        let mut shape = Shape::zeros(rank);
        shape.iter_mut().zip(&list[i * rank..]).for_each(|(to, &v)| *to = v as usize);
        shape
    };
    let (image, block, dilations, begins, ends, strides) = (part(0), part(1), part(2), part(3), part(4), part(5));
    let mut blocks = Shape::zeros(rank);
    for axis in 0..rank {
        let reach = dilations[axis].saturating_mul(block[axis].saturating_sub(1)).saturating_add(1);
        let room = (image[axis] + begins[axis] + ends[axis]).checked_sub(reach);
        blocks[axis] = room.map_or(0, |room| room / strides[axis].max(1) + 1);
    }
    Ok(Window { image, block, dilations, begins, strides, blocks })
}

impl Window {
    /// The position of the block of which tap `tap` is at `at`.
    fn block_at(&self, at: &[usize], tap: &[usize]) -> Option<usize> {
        (0..at.len()).try_fold(0, |flat, axis| {
            let from = (at[axis] + self.begins[axis]).checked_sub(tap[axis] * self.dilations[axis])?;
            let stride = self.strides[axis].max(1);
            let block = from / stride;
            (from.is_multiple_of(stride) && block < self.blocks[axis]).then_some(flat * self.blocks[axis] + block)
        })
    }
}

fn col2im(args: &mut Args) -> Result<(), KernelError> {
    let (x_shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let w = window(args.list(0), to.len().saturating_sub(2))?;
    let (taps, blocks, size) = (w.block.count(), w.blocks.count(), w.image.count());
    if to[2..] != w.image[..] || x_shape[..] != [to[0], to[1] * taps, blocks] {
        return Err(error(format!("columns of {:?} do not make an image of {:?}", &x_shape[..], &to[..])));
    }
    by_number!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        rows(args.pool(), y, 1, taps * 8, |first, part| {
            let mut at = w.image.unravel(first % size);
            for (r, to) in part.iter_mut().enumerate() {
                let columns = &x[(first + r) / size * taps * blocks..][..taps * blocks];
                let mut tap = Shape::zeros(at.len());
                *to = T::ZERO;
                for t in 0..taps {
                    if let Some(block) = w.block_at(&at, &tap) {
                        *to = to.add(columns[t * blocks + block]);
                    }
                    w.block.advance(&mut tap);
                }
                w.image.advance(&mut at);
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, run_f32};

    #[test]
    fn adds_blocks_up() {
        // Image, block, dilations, begins, ends, strides; number of blocks along each axis.
        let cases: [([i64; 12], [usize; 2]); 3] = [
            ([5, 5, 1, 5, 1, 1, 0, 0, 0, 0, 1, 1], [5, 1]),
            ([7, 5, 3, 2, 2, 1, 1, 0, 1, 1, 2, 3], [3, 2]),
            ([4, 6, 2, 2, 1, 3, 0, 2, 0, 0, 1, 2], [3, 3]),
        ];
        let mut random = Random(1);
        for (window, [rows, columns]) in cases {
            let [ih, iw, bh, bw, dh, dw, ph, pw, .., sh, sw] = window;
            let (blocks, size) = (rows * columns, (ih * iw) as usize);
            let x: Vec<f32> = random.f32s(2 * 3 * (bh * bw) as usize * blocks);
            let mut expected = vec![0.0; 6 * size];
            for (plane, to) in expected.chunks_mut(size).enumerate() {
                for tap in 0..bh * bw {
                    for block in 0..blocks {
                        let h = (block / columns) as i64 * sh - ph + tap / bw * dh;
                        let w = (block % columns) as i64 * sw - pw + tap % bw * dw;
                        if (0..ih).contains(&h) && (0..iw).contains(&w) {
                            to[(h * iw + w) as usize] +=
                                x[(plane * (bh * bw) as usize + tap as usize) * blocks + block];
                        }
                    }
                }
            }
            let shape = [2, 3 * (bh * bw) as usize, blocks];
            let to = [2, 3, ih as usize, iw as usize];
            assert_eq!(run_f32(&COL2IM, &[Buffer::f32(&shape, &x)], &window, &to), expected);
        }
    }
}
