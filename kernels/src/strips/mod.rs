//! Math functions over contiguous arrays.

mod scalar;

use crate::abi::{Strip, Table};
use crate::isa::Isa;

/// The strips for `isa`.
pub(crate) fn table(_isa: Isa) -> &'static Table {
    static PORTABLE: Table = Table { strips: scalar::STRIPS, pow: scalar::pow };
    &PORTABLE
}

/// `strip(x)`, one element at a time.
pub(crate) fn eval(strip: Strip, x: f32) -> f32 {
    let mut y = x;
    // SAFETY: both pointers cover one element.
    unsafe { table(Isa::Portable).strips[strip as usize](&mut y, &x, 1) };
    y
}
