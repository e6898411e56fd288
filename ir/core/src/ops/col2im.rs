//! `col2im`: an image of blocks that overlap, which are added. ONNX `Col2Im`, opset 18.

use crate::eval::{
    checked_len, coordinates_of, for_each_coordinate, from_ints, from_reals, ints, offset, reals, strides,
};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// `[N, C * block…, blocks]` to `[N, C, image…]`: block `l` of a channel, at its place of the padded image, plus all
    /// others that reach there.
    Col2Im {
        /// Extents of the image.
        image: Vec<Dim>,
        /// Extents of a block.
        block: Vec<Dim>,
        /// Distance of a block's elements along each axis.
        dilations: Vec<usize>,
        /// What blocks may reach around the image: before along each axis, then after.
        pads: Vec<usize>,
        /// Distance of the blocks along each axis.
        strides: Vec<usize>
    }
}

impl Col2Im {
    fn check(&self) -> Result<usize, OpError> {
        let n = self.image.len();
        let fits = self.block.len() == n && self.dilations.len() == n && self.strides.len() == n;
        ensure!(n > 0 && fits && self.pads.len() == 2 * n, "the lists do not describe one image");
        ensure!(self.strides.iter().chain(&self.dilations).all(|&d| d > 0), "strides and dilations must be positive");
        Ok(n)
    }

    /// Number of blocks along an axis.
    fn blocks(&self, axis: usize) -> Dim {
        let n = self.image.len();
        let around = Dim::constant((self.pads[axis] + self.pads[n + axis]) as i64);
        let reach = (self.block[axis].clone() - Dim::constant(1)) * Dim::constant(self.dilations[axis] as i64);
        let room = self.image[axis].clone() + around - reach - Dim::constant(1);
        room.floor_div(&Dim::constant(self.strides[axis] as i64)) + Dim::constant(1)
    }
}

impl OpDef for Col2Im {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let n = self.check()?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        let [batch, columns, blocks] = &ty.shape[..] else {
            return Err(OpError(format!("`x` must have rank 3, found {}", ty.rank())));
        };
        let area: Dim = self.block.iter().cloned().product();
        let channels = columns.floor_div(&area);
        x.equal(columns, &(channels.clone() * area), "the columns and a multiple of a block")?;
        x.equal(
            blocks,
            &(0..n).map(|axis| self.blocks(axis)).product(),
            "the number of blocks and what fits the image",
        )?;
        let shape = [&[batch.clone(), channels], &self.image[..]].concat();
        Ok(vec![TensorType::new(ty.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let n = self.check()?;
        let (image, block) = (x.extents(&self.image)?, x.extents(&self.block)?);
        let blocks = x.extents(&(0..n).map(|axis| self.blocks(axis)).collect::<Vec<_>>())?;
        let &[batch, columns, total] = input.shape() else { return Err(OpError::new("`x` must have rank 3")) };
        let (area, size) = (checked_len(&block)?, checked_len(&image)?);
        ensure!(area > 0 && columns % area == 0, "{columns} columns are no multiple of a block of {area}");
        ensure!(total == checked_len(&blocks)?, "{total} blocks do not fit the image");
        let channels = columns / area;
        let shape = [&[batch, channels], &image[..]].concat();
        let (steps, mut places) = (strides(&image), Vec::new());
        for_each_coordinate(&[&block[..], &blocks].concat(), |at| {
            let along = |axis: usize| {
                let (step, tap) = (self.strides[axis], self.dilations[axis]);
                let from = at[n + axis].checked_mul(step)?.checked_add(at[axis].checked_mul(tap)?)?;
                from.checked_sub(self.pads[axis]).filter(|&from| from < image[axis])
            };
            let at: Option<Vec<usize>> = (0..n).map(along).collect();
            places.push(at.map(|at| offset(&at, &steps)));
            Ok(())
        })?;
        // Where each element of the columns goes in the whole result.
        let target = |i: usize| {
            let at = coordinates_of(i, input.shape());
            let (channel, tap) = (at[1] / area, at[1] % area);
            places[tap * total + at[2]].map(|place| (at[0] * channels + channel) * size + place)
        };
        let len = checked_len(&shape)?;
        if input.dtype().is_float() {
            let mut sums = vec![0.0; len];
            reals(input)?.into_iter().enumerate().for_each(|(i, v)| target(i).into_iter().for_each(|to| sums[to] += v));
            return Ok(vec![from_reals(input.dtype(), shape, sums)?]);
        }
        let mut sums = vec![0i128; len];
        ints(input)?.into_iter().enumerate().for_each(|(i, v)| target(i).into_iter().for_each(|to| sums[to] += v));
        Ok(vec![from_ints(input.dtype(), shape, sums)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_blocks_are_added() {
        // Blocks of 2 at distance 1 on an image of 3: the middle is in both.
        let input = Tensor::from_elements(vec![1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let (image, block) = (vec![3.into()], vec![2.into()]);
        let op = Col2Im { image, block, dilations: vec![1], pads: vec![0, 0], strides: vec![1] };
        assert_eq!(op.eval(&x).unwrap()[0].elements::<f32>().unwrap(), [1.0, 5.0, 4.0]);
    }
}
