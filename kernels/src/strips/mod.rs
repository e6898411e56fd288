//! Math functions over contiguous arrays.

pub(crate) mod functions;
mod scalar;

use crate::abi::Table;
use crate::isa::Isa;
use crate::vector::{Vector, for_isa};

/// The strips for `isa`.
pub(crate) fn table(isa: Isa) -> &'static Table {
    for_isa!(isa, V => table_of::<V>())
}

/// The strips for the instruction set of `V`.
pub(crate) fn table_of<V: Vector>() -> &'static Table {
    const { &Table { strips: scalar::STRIPS, pow: scalar::pow } }
}
