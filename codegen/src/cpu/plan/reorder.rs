//! Copies that change which axis is innermost: a library kernel moves them in tiles, where generated code would read or
//! write a cache line for every element.

use super::epilogue::{address, is_identity, is_plain};
use ic_ir::kernel::{Anchor, Expr, Kernel, Stage};
use ic_types::{DType, Dim};

/// A dense result read from elsewhere by strides.
pub(super) struct Reorder {
    /// The parameter that is read.
    pub(super) from: u32,
    /// The parameter that is written.
    pub(super) to: u32,
    /// Extents of the result.
    pub(super) shape: Vec<Dim>,
    /// First element that is read.
    pub(super) offset: Dim,
    /// Elements between neighbours on each axis.
    pub(super) strides: Vec<Dim>,
}

/// The copy that `kernel` is, if it is one whose source is contiguous along another axis than its result.
pub(super) fn reorder(kernel: &Kernel) -> Option<Reorder> {
    let [Stage { inner, anchor: Anchor::Pointwise, body, stores }] = kernel.stages.as_slice() else { return None };
    let ([Expr::Load(load)], [store]) = (body.as_slice(), stores.as_slice()) else { return None };
    let rank = kernel.outer.len();
    let dtypes = [load.param, store.param].map(|param| kernel.params[param as usize].dtype);
    let is_plain_copy = inner.is_empty()
        && is_plain(load)
        && store.bounds.is_empty()
        && dtypes[0] == dtypes[1]
        && is_whole_bytes(dtypes[0])
        && is_identity(kernel, store.param, &store.indices);
    let at = address(kernel, load.param, &load.indices);
    let strides = at.strides(rank).filter(|_| is_plain_copy)?;
    let (last, others) = strides.split_last()?;
    let is_reordered = !last.is(0) && !last.is(1) && others.iter().any(|stride| stride.is(1));
    let shape = kernel.outer.iter().map(|axis| axis.extent.clone()).collect();
    is_reordered.then_some(Reorder { from: load.param, to: store.param, shape, offset: at.constant, strides })
}

/// Whether elements are 1 to 8 bytes that can be copied as such.
fn is_whole_bytes(dtype: DType) -> bool {
    !dtype.is_handle() && dtype.size().is_some_and(|size| size <= 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::kernel::{Axis, Index, Load, Param, Store};

    /// `y[i, j] = x[10 + i * strides[0] + j * strides[1]]`.
    fn copy(shape: [i64; 2], strides: [i64; 2]) -> Kernel {
        let extents = shape.map(Dim::constant);
        let axis = |i: usize| Index::axis(i).times(&Dim::constant(strides[i]));
        let from = axis(0).plus(&axis(1)).plus(&Index::constant(Dim::constant(10)));
        let load = Load { param: 0, indices: vec![from], gathered: vec![], bounds: vec![], otherwise: None };
        let indices = vec![Index::axis(0), Index::axis(1)];
        Kernel {
            params: vec![
                Param { dtype: DType::F32, shape: vec![Dim::constant(1000)], is_output: false },
                Param { dtype: DType::F32, shape: extents.to_vec(), is_output: true },
            ],
            outer: extents.map(|extent| Axis { extent }).to_vec(),
            stages: vec![Stage {
                inner: vec![],
                anchor: Anchor::Pointwise,
                body: vec![Expr::Load(load)],
                stores: vec![Store { value: 0, param: 1, indices, bounds: vec![] }],
            }],
        }
    }

    #[test]
    fn only_copies_that_change_the_innermost_axis_are_reordered() {
        let found = reorder(&copy([5, 7], [1, 5])).unwrap();
        assert_eq!((found.from, found.to, found.offset), (0, 1, Dim::constant(10)));
        assert_eq!(found.strides, [1, 5].map(Dim::constant));
        assert_eq!(found.shape, [5, 7].map(Dim::constant));
        // Rows of a larger matrix, a broadcast, every other element of rows.
        for strides in [[20, 1], [1, 0], [14, 2]] {
            assert!(reorder(&copy([5, 7], strides)).is_none(), "{strides:?}");
        }
        let mut bounded = copy([5, 7], [1, 5]);
        let Expr::Load(load) = &mut bounded.stages[0].body[0] else { unreachable!() };
        load.param = 1;
        load.bounds =
            vec![ic_ir::kernel::Bound { index: Index::axis(0), low: Dim::constant(0), high: Dim::constant(3) }];
        assert!(reorder(&bounded).is_none());
    }
}
