//! Operands of library kernels with bound shapes, checked against their buffers.

use ic_artifact::{BufferId, Operand};
use ic_kernels::abi;
use ic_types::DType;

/// An operand whose shape is bound and whose memory is not. Its extents and strides are in the binding's `extents`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundOperand {
    /// The memory; `None` for an absent optional operand.
    pub(crate) buffer: Option<BufferId>,
    offset_bytes: usize,
    dtype: DType,
    rank: usize,
    /// Where its extents begin; as many strides follow.
    at: usize,
}

impl BoundOperand {
    /// What stands for an absent operand.
    pub(crate) const ABSENT: BoundOperand =
        BoundOperand { buffer: None, offset_bytes: 0, dtype: DType::F32, rank: 0, at: 0 };

    /// Binds `operand`, appending its extents and strides to `extents`.
    ///
    /// # Errors
    /// If an extent is negative, or an element lies outside of the buffer's `bytes`.
    pub(crate) fn bind(
        operand: &Operand,
        slots: &[i64],
        bytes: usize,
        extents: &mut Vec<i64>,
    ) -> Result<BoundOperand, String> {
        let (Some(dtype), Some(element)) = (DType::from_code(operand.dtype), dtype_size(operand.dtype)) else {
            return Err(format!("has the unknown element type {}", operand.dtype));
        };
        let at = extents.len();
        let rank = operand.shape.len();
        extents.extend(operand.shape.iter().map(|&slot| slots[slot as usize]));
        match &operand.strides {
            Some(strides) => extents.extend(strides.iter().map(|&slot| slots[slot as usize])),
            None => push_dense_strides(extents, at)?,
        }
        let offset = operand.offset.map_or(0, |slot| slots[slot as usize]);
        let (shape, strides) = extents[at..].split_at(rank);
        // Of an operand without elements no address is used.
        let offset = if shape.contains(&0) { 0 } else { offset };
        if let Some(extent) = shape.iter().find(|&&extent| extent < 0) {
            return Err(format!("has the extent {extent}"));
        }
        let inside = reach(offset, shape, strides).is_some_and(|(low, high)| {
            let end = usize::try_from(high).ok().and_then(|high| high.checked_mul(element));
            low >= 0 && end.is_some_and(|end| end <= bytes)
        });
        if !inside {
            return Err(format!("{shape:?} at {offset} reaches outside of its buffer of {bytes} bytes"));
        }
        Ok(BoundOperand { buffer: Some(operand.buffer), offset_bytes: offset as usize * element, dtype, rank, at })
    }

    /// The operand in `memory`, its buffer; null for an absent one.
    ///
    /// # Safety
    /// `memory` is null or has the bytes that the operand was bound with. `extents` is the list that it was bound with,
    /// and outlives what is returned.
    pub(crate) unsafe fn at(&self, memory: *mut u8, extents: &[i64]) -> abi::Operand<'static> {
        let (shape, strides) = extents[self.at..self.at + 2 * self.rank].split_at(self.rank);
        // SAFETY: the caller keeps `extents` for as long as the operand.
        let forever = |slice: &[i64]| unsafe { std::slice::from_raw_parts(slice.as_ptr(), slice.len()) };
        abi::Operand {
            data: memory.wrapping_add(self.offset_bytes),
            dtype: self.dtype,
            shape: forever(shape),
            strides: forever(strides),
        }
    }
}

/// Bytes of an element of the type with this number.
fn dtype_size(code: u8) -> Option<usize> {
    DType::from_code(code)?.size()
}

/// Appends row-major strides of the shape that begins at `at` and goes to the end of `extents`.
fn push_dense_strides(extents: &mut Vec<i64>, at: usize) -> Result<(), String> {
    let rank = extents.len() - at;
    extents.resize(at + 2 * rank, 1);
    let (shape, strides) = extents[at..].split_at_mut(rank);
    for axis in (1..rank).rev() {
        // An empty axis leaves no element to reach; 1 keeps the other strides meaningful.
        let step = strides[axis].checked_mul(shape[axis].max(1));
        strides[axis - 1] = step.ok_or_else(|| format!("{shape:?} has too many elements"))?;
    }
    Ok(())
}

/// The lowest element that is reached from `offset`, and one past the highest; equal if there are none.
fn reach(offset: i64, shape: &[i64], strides: &[i64]) -> Option<(i64, i64)> {
    if shape.contains(&0) {
        // Nothing is accessed, but the address is computed.
        return Some((offset, offset));
    }
    let (mut low, mut high) = (offset, offset);
    for (&extent, &stride) in shape.iter().zip(strides) {
        let distance = (extent - 1).checked_mul(stride)?;
        let end = if distance < 0 { &mut low } else { &mut high };
        *end = end.checked_add(distance)?;
    }
    Some((low, high.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(shape: &[i64], strides: Option<&[i64]>, offset: i64, bytes: usize) -> Result<Vec<i64>, String> {
        let mut slots = vec![offset];
        let mut slot = |value: i64| {
            slots.push(value);
            slots.len() as u32 - 1
        };
        let operand = Operand {
            buffer: 0,
            offset: Some(0),
            dtype: 1,
            shape: shape.iter().map(|&v| slot(v)).collect(),
            strides: strides.map(|s| s.iter().map(|&v| slot(v)).collect()),
        };
        let mut extents = vec![];
        BoundOperand::bind(&operand, &slots, bytes, &mut extents).map(|_| extents)
    }

    #[test]
    fn operands_stay_inside_their_buffers() {
        assert_eq!(bind(&[2, 3], None, 0, 24).unwrap(), [2, 3, 3, 1]);
        assert_eq!(bind(&[3, 2], Some(&[1, 3]), 0, 24).unwrap(), [3, 2, 1, 3]);
        assert!(bind(&[2, 3], None, 0, 23).is_err());
        assert!(bind(&[2, 3], None, 1, 24).is_err());
        assert!(bind(&[2, 3], None, -1, 24).is_err());
        assert!(bind(&[4], Some(&[-1]), 3, 16).is_ok());
        assert!(bind(&[4], Some(&[-1]), 2, 16).is_err());
        assert!(bind(&[0, i64::MAX], None, 0, 0).is_ok());
        assert!(bind(&[-1], None, 0, 16).is_err());
        assert!(bind(&[i64::MAX, i64::MAX, 2], None, 0, 16).is_err());
        assert!(bind(&[2], Some(&[i64::MAX]), 1, 16).is_err());
        assert!(bind(&[], None, 0, 4).is_ok());
    }
}
