//! Strips over the vector functions.

use super::functions;
use crate::vector::{LANES, Task, Vector};
use std::marker::PhantomData;

/// A function of every lane.
pub(super) trait Function {
    fn eval<V: Vector>(x: V) -> V;
}

macro_rules! functions {
    ($($Name:ident = $function:expr;)*) => {
        $(
            pub(super) struct $Name;

            impl Function for $Name {
                #[inline(always)]
                fn eval<V: Vector>(x: V) -> V {
                    $function(x)
                }
            }
        )*
    };
}

functions! {
    Exp = functions::exp;
    Log = functions::log;
    Erf = functions::erf;
    Tanh = functions::tanh;
    Sigmoid = functions::sigmoid;
    Silu = functions::silu;
    Gelu = functions::gelu;
    GeluTanh = functions::gelu_tanh;
    HardSwish = functions::hard_swish;
    Relu = functions::relu;
    Sin = functions::sin;
    Cos = functions::cos;
    Sqrt = V::sqrt;
    Softplus = functions::softplus;
}

/// The strip of `F` on the instruction set of `V`.
///
/// # Safety
/// The machine has `V`; both arrays hold `n` elements, and `dst` is `src` or apart from it.
pub(super) unsafe extern "C" fn strip<V: Vector, F: Function>(dst: *mut f32, src: *const f32, n: usize) {
    // SAFETY: the caller vouches for the instruction set and the arrays.
    unsafe { V::vectorize(Strip::<F> { dst, src, n, function: PhantomData }) };
}

struct Strip<F> {
    dst: *mut f32,
    src: *const f32,
    n: usize,
    function: PhantomData<F>,
}

impl<F: Function> Task for Strip<F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let whole = self.n / LANES * LANES;
        // SAFETY: the caller vouches for `n` elements.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                F::eval(V::load(self.src.add(i))).store(self.dst.add(i));
            }
            if whole < self.n {
                let x = V::load_partial(self.src.add(whole), self.n - whole);
                F::eval(x).store_partial(self.dst.add(whole), self.n - whole);
            }
        }
    }
}
