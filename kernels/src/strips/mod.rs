//! Math functions over contiguous arrays.

mod elements;
mod extreme;
pub(crate) mod functions;
mod quantize;
mod scalar;
mod trace;
mod vectorized;

pub use trace::{TraceOp, Traced, trace};

use crate::abi::{Strip, StripFn, Table};
use crate::isa::Isa;
use crate::vector::{Vector, for_isa};
use vectorized::strip;

/// The strips for `isa`.
pub(crate) fn table(isa: Isa) -> &'static Table {
    for_isa!(isa, V => table_of::<V>())
}

/// The strips for the instruction set of `V`.
pub(crate) fn table_of<V: Vector>() -> &'static Table {
    const {
        &Table {
            strips: strips::<V>(),
            pow: scalar::pow,
            f64_functions: elements::FUNCTIONS,
            f64_pow: elements::f64_pow,
            f64_fmod: elements::f64_fmod,
            f32_fmod: elements::f32_fmod,
            quantize: quantize::quantize::<V>,
            smallest: extreme::smallest::<V>,
            greatest: extreme::greatest::<V>,
        }
    }
}

/// The strips by [`Strip`].
const fn strips<V: Vector>() -> [StripFn; Strip::ALL.len()] {
    [
        strip::<V, vectorized::Exp>,
        strip::<V, vectorized::Log>,
        strip::<V, vectorized::Erf>,
        strip::<V, vectorized::Tanh>,
        strip::<V, vectorized::Sigmoid>,
        strip::<V, vectorized::Silu>,
        strip::<V, vectorized::Gelu>,
        strip::<V, vectorized::GeluTanh>,
        strip::<V, vectorized::HardSwish>,
        strip::<V, vectorized::Relu>,
        strip::<V, vectorized::Sin>,
        strip::<V, vectorized::Cos>,
        strip::<V, vectorized::Sqrt>,
        strip::<V, vectorized::Softplus>,
        scalar::strip!(libm::tanf),
        scalar::strip!(libm::asinf),
        scalar::strip!(libm::acosf),
        scalar::strip!(libm::atanf),
        scalar::strip!(libm::sinhf),
        scalar::strip!(libm::coshf),
        scalar::strip!(libm::asinhf),
        scalar::strip!(scalar::acosh),
        scalar::strip!(libm::atanhf),
    ]
}
