//! Checked, typed access to a call's operands and attributes.
//!
//! An [`Args`] hands out each output once, so that no two mutable slices overlap: kernels above it need no unsafe code.

use super::element::Element;
use crate::abi::{Call, Kernel, KernelError, Operand, Parallel};
use crate::host::Host;
use ic_types::DType;
use std::ops::Deref;

/// The highest rank that library kernels take.
pub(crate) const MAX_RANK: usize = 16;

/// Extents or indices of up to [`MAX_RANK`] axes, without allocation.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The shape with these extents.
    pub(crate) fn new(dims: &[usize]) -> Result<Shape, KernelError> {
        if dims.len() > MAX_RANK {
            return Err(error(format!("expected at most {MAX_RANK} axes, found {}", dims.len())));
        }
        let mut shape = Shape { dims: [1; MAX_RANK], rank: dims.len() };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Ok(shape)
    }

    /// `rank` zeros; the caller keeps `rank` within [`MAX_RANK`] by taking it from another shape.
    pub(crate) fn zeros(rank: usize) -> Shape {
        Shape { dims: [0; MAX_RANK], rank: rank.min(MAX_RANK) }
    }

    /// Row-major strides of a dense tensor of this shape.
    pub(crate) fn strides(&self) -> Shape {
        let mut strides = Shape::zeros(self.rank);
        let mut step = 1usize;
        for axis in (0..self.rank).rev() {
            strides[axis] = step;
            step = step.saturating_mul(self[axis]);
        }
        strides
    }

    /// Number of elements.
    pub(crate) fn count(&self) -> usize {
        self.iter().product()
    }

    /// Advances `index` to the next position in row-major order; wraps to zeros at the end.
    pub(crate) fn advance(&self, index: &mut [usize]) {
        for axis in (0..self.rank).rev() {
            index[axis] += 1;
            if index[axis] < self[axis] {
                return;
            }
            index[axis] = 0;
        }
    }

    /// The position of element `flat` in row-major order.
    pub(crate) fn unravel(&self, mut flat: usize) -> Shape {
        let mut index = Shape::zeros(self.rank);
        for axis in (0..self.rank).rev() {
            let extent = self[axis].max(1);
            index[axis] = flat % extent;
            flat /= extent;
        }
        index
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl std::ops::DerefMut for Shape {
    fn deref_mut(&mut self) -> &mut [usize] {
        &mut self.dims[..self.rank]
    }
}

/// A kernel's refusal.
pub(crate) fn error(message: impl Into<String>) -> KernelError {
    KernelError(message.into())
}

/// A call with its operands split into inputs and outputs.
pub(crate) struct Args<'a> {
    call: &'a Call<'a>,
    n_inputs: usize,
    next_output: usize,
}

impl<'a> Args<'a> {
    /// # Safety
    /// Each operand's `data` is null or points to as many initialized elements of its type as its shape has, or as its
    /// strides reach, which live as long as the call; an output overlaps no other operand and is not accessed by others
    /// meanwhile. `n_inputs` is the number of inputs of the kernel, or of all operands that precede its outputs.
    pub(crate) unsafe fn new(call: &'a Call<'a>, n_inputs: usize) -> Args<'a> {
        Args { call, n_inputs, next_output: n_inputs }
    }

    /// The threads to use.
    pub(crate) fn pool(&self) -> &'a dyn Parallel {
        self.call.pool
    }

    /// What the calls of the run share.
    pub(crate) fn host(&self) -> &'a Host {
        self.call.host
    }

    /// Number of inputs, absent ones included.
    pub(crate) fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// Number of outputs, absent ones included.
    pub(crate) fn n_outputs(&self) -> usize {
        self.call.operands.len().saturating_sub(self.n_inputs)
    }

    /// Attribute `index` as a number.
    pub(crate) fn attr(&self, index: usize) -> Result<i64, KernelError> {
        self.call.attrs.get(index).copied().ok_or_else(|| error(format!("attribute #{index} is missing")))
    }

    /// Attribute `index` as a count or extent.
    pub(crate) fn extent(&self, index: usize) -> Result<usize, KernelError> {
        let value = self.attr(index)?;
        usize::try_from(value).map_err(|_| error(format!("expected a non-negative attribute #{index}, found {value}")))
    }

    /// Attribute `index` as a truth value.
    pub(crate) fn flag(&self, index: usize) -> Result<bool, KernelError> {
        Ok(self.attr(index)? != 0)
    }

    /// Attribute `index`, the bit pattern of an f32.
    pub(crate) fn attr_f32(&self, index: usize) -> Result<f32, KernelError> {
        Ok(f32::from_bits(self.attr(index)? as u32))
    }

    /// Attribute `index` as an axis of a tensor of `rank` axes; negative ones count from the end.
    pub(crate) fn axis(&self, index: usize, rank: usize) -> Result<usize, KernelError> {
        normalize_axis(self.attr(index)?, rank)
    }

    /// The list attribute, which starts at `index`.
    pub(crate) fn list(&self, index: usize) -> &'a [i64] {
        self.call.attrs.get(index..).unwrap_or_default()
    }

    /// Operand `index`, inputs first.
    pub(crate) fn operand(&self, index: usize) -> Result<&'a Operand<'a>, KernelError> {
        self.call.operands.get(index).ok_or_else(|| error(format!("operand #{index} is missing")))
    }

    /// Whether operand `index` was given.
    pub(crate) fn is_present(&self, index: usize) -> bool {
        self.call.operands.get(index).is_some_and(|operand| operand.is_present())
    }

    /// The element type of operand `index`.
    pub(crate) fn dtype(&self, index: usize) -> Result<DType, KernelError> {
        Ok(self.operand(index)?.dtype)
    }

    /// The shape of operand `index`.
    pub(crate) fn shape(&self, index: usize) -> Result<Shape, KernelError> {
        let operand = self.operand(index)?;
        if operand.shape.len() > MAX_RANK {
            return Err(error(format!("expected at most {MAX_RANK} axes, found {}", operand.shape.len())));
        }
        let mut shape = Shape::zeros(operand.shape.len());
        for (axis, (to, &from)) in shape.iter_mut().zip(operand.shape).enumerate() {
            *to = usize::try_from(from).map_err(|_| error(format!("axis {axis} has the extent {from}")))?;
        }
        Ok(shape)
    }

    /// The shape of output `index`, counted from the first output.
    pub(crate) fn output_shape(&self, index: usize) -> Result<Shape, KernelError> {
        self.shape(self.n_inputs + index)
    }

    /// The elements of input `index`.
    pub(crate) fn input<T: Element>(&self, index: usize) -> Result<&'a [T], KernelError> {
        debug_assert!(index < self.n_inputs);
        let operand = self.operand(index)?;
        let len = self.shape(index)?.count();
        check::<T>(operand, index, len)?;
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: `Args::new` promises `len` initialized elements; `check` saw a non-null aligned pointer to elements
        // as wide as `T`, which takes every bit pattern. Only outputs are written, and they do not overlap inputs.
        Ok(unsafe { std::slice::from_raw_parts(operand.data.cast::<T>(), len) })
    }

    /// The bytes of input `index`, whatever its element type.
    pub(crate) fn bytes(&self, index: usize) -> Result<&'a [u8], KernelError> {
        debug_assert!(index < self.n_inputs);
        let operand = self.operand(index)?;
        let len = self.shape(index)?.count() * operand.dtype.size().unwrap_or(0);
        if len == 0 {
            return Ok(&[]);
        }
        if operand.data.is_null() {
            return Err(error(format!("operand #{index} is missing")));
        }
        // SAFETY: `Args::new` promises as many initialized elements, and only outputs are written.
        Ok(unsafe { std::slice::from_raw_parts(operand.data, len) })
    }

    /// The bytes of the next output, whatever its element type. What is written must be elements of that type.
    pub(crate) fn output_bytes(&mut self) -> Result<&'a mut [u8], KernelError> {
        let index = self.next_output;
        self.next_output += 1;
        let operand = self.operand(index)?;
        let len = self.shape(index)?.count() * operand.dtype.size().unwrap_or(0);
        if len == 0 {
            return Ok(&mut []);
        }
        if operand.data.is_null() {
            return Err(error(format!("operand #{index} is missing")));
        }
        // SAFETY: `Args::new` promises as many elements that nothing else reads or writes; the cursor has passed this
        // output, so no other slice of it exists.
        Ok(unsafe { std::slice::from_raw_parts_mut(operand.data, len) })
    }

    /// The elements of input `index` if it was given.
    pub(crate) fn optional<T: Element>(&self, index: usize) -> Result<Option<&'a [T]>, KernelError> {
        if self.is_present(index) { self.input(index).map(Some) } else { Ok(None) }
    }

    /// The elements that input `index`, which has strides, reaches, from the lowest address on, with the position of
    /// its first element among them.
    pub(crate) fn strided_input<T: Element>(&self, index: usize) -> Result<(&'a [T], usize), KernelError> {
        let operand = self.operand(index)?;
        let shape = self.shape(index)?;
        check::<T>(operand, index, shape.count())?;
        if shape.count() == 0 {
            return Ok((&[], 0));
        }
        let (mut below, mut above) = (0usize, 0usize);
        for (&extent, &stride) in shape.iter().zip(operand.strides) {
            let reach = stride.unsigned_abs() as usize * (extent - 1);
            if stride < 0 { below += reach } else { above += reach }
        }
        // SAFETY: `Args::new` promises that what the strides reach is there; `below` elements precede the first.
        let first = unsafe { operand.data.cast::<T>().sub(below) };
        // SAFETY: As above; the range from the lowest to the highest reachable element lies in one buffer.
        Ok((unsafe { std::slice::from_raw_parts(first, below + above + 1) }, below))
    }

    /// The elements of the next output. Each output is handed out once, in order.
    pub(crate) fn output<T: Element>(&mut self) -> Result<&'a mut [T], KernelError> {
        let index = self.next_output;
        self.next_output += 1;
        let operand = self.operand(index)?;
        let len = self.shape(index)?.count();
        check::<T>(operand, index, len)?;
        if len == 0 {
            return Ok(&mut []);
        }
        // SAFETY: `Args::new` promises `len` elements that nothing else reads or writes; the cursor has passed this
        // output, so no other slice of it exists; `check` saw a non-null aligned pointer to elements as wide as `T`.
        Ok(unsafe { std::slice::from_raw_parts_mut(operand.data.cast::<T>(), len) })
    }

    /// The elements of the next output if it is wanted.
    pub(crate) fn optional_output<T: Element>(&mut self) -> Result<Option<&'a mut [T]>, KernelError> {
        if self.is_present(self.next_output) {
            return self.output().map(Some);
        }
        self.next_output += 1;
        Ok(None)
    }

    /// The first `len` elements of the call's scratch memory, set to zero.
    ///
    /// `len * size_of::<T>()` may not exceed what the kernel's `scratch` function gave for this call.
    ///
    /// # Safety
    /// That, and: called at most once per call.
    pub(crate) unsafe fn scratch<T: Element>(&self, len: usize) -> &'a mut [T] {
        // SAFETY: The caller's promise.
        unsafe { self.scratch_behind(0, len).1 }
    }

    /// The first `bytes` of the call's scratch memory, a multiple of 64, as whoever was here before left them, and `len`
    /// elements behind them, set to zero.
    ///
    /// # Safety
    /// As for [`scratch`](Self::scratch), for both together.
    pub(crate) unsafe fn scratch_behind<T: Element>(&self, bytes: usize, len: usize) -> (*mut u8, &'a mut [T]) {
        let raw = self.call.scratch;
        if len == 0 {
            return (raw, &mut []);
        }
        // SAFETY: The caller keeps to the size; scratch is 64-byte aligned and zero bytes are a value of every `T`.
        unsafe {
            let elements = raw.add(bytes);
            elements.write_bytes(0, len * size_of::<T>());
            (raw, std::slice::from_raw_parts_mut(elements.cast::<T>(), len))
        }
    }
}

fn check<T: Element>(operand: &Operand, index: usize, len: usize) -> Result<(), KernelError> {
    if !T::accepts(operand.dtype) {
        return Err(error(format!("operand #{index} has the unexpected element type {}", operand.dtype)));
    }
    if len > 0 && operand.data.is_null() {
        return Err(error(format!("operand #{index} is missing")));
    }
    if !operand.data.cast::<T>().is_aligned() && len > 0 {
        return Err(error(format!("operand #{index} is not aligned to its element type {}", operand.dtype)));
    }
    Ok(())
}

/// Axis `axis` of `rank`, counted from the front; negative ones count from the end.
pub(crate) fn normalize_axis(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let wrapped = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(wrapped) {
        Ok(found) if found < rank => Ok(found),
        _ => Err(error(format!("axis {axis} is out of range for {rank} axes"))),
    }
}

/// No scratch.
pub(crate) fn no_scratch(_: &[Operand], _: &[i64], _: usize) -> usize {
    0
}

/// A kernel over [`Args`]; `scratch` is replaced where a kernel needs some.
pub(crate) const fn kernel(
    name: &'static str,
    operands: &'static [&'static str],
    attrs: &'static [&'static str],
    run: unsafe fn(&Call) -> Result<(), KernelError>,
) -> Kernel {
    Kernel { name, layout: 0, revision: 1, operands, attrs, scratch: no_scratch, run }
}

/// Declares a library kernel: `NAME = "name" [inputs] -> [outputs] {attributes}, function over Args;`.
///
/// An operand whose name ends in `[]` is a list: any number of inputs or outputs in its place.
macro_rules! kernels {
    ($($(#[$doc:meta])* $const:ident = $name:literal
        [$($input:literal),*] -> [$($output:literal),*] {$($attr:literal),*}, $run:expr $(, scratch = $scratch:expr)?;)*) => {$(
        $(#[$doc])*
        pub(crate) const $const: $crate::abi::Kernel = {
            const INPUTS: &[&str] = &[$($input),*];
            const OUTPUTS: &[&str] = &[$($output),*];
            /// # Safety
            /// As for [`Args::new`](crate::library::args::Args::new).
            unsafe fn run(call: &$crate::abi::Call) -> Result<(), $crate::abi::KernelError> {
                let n_inputs = $crate::library::args::n_inputs(INPUTS, OUTPUTS, call.operands.len());
                // SAFETY: The caller's promise is the same.
                let mut args = unsafe { $crate::library::args::Args::new(call, n_inputs) };
                let body: fn(&mut $crate::library::args::Args) -> Result<(), $crate::abi::KernelError> = $run;
                body(&mut args)
            }
            $crate::abi::Kernel {
                $(scratch: $scratch,)?
                ..$crate::library::args::kernel($name, &[$($input,)* $($output),*], &[$($attr),*], run)
            }
        };
    )*};
}
pub(crate) use kernels;

/// How many of `n_operands` are inputs: those named, or, where the inputs end in a list, all but the outputs.
pub(crate) fn n_inputs(inputs: &[&str], outputs: &[&str], n_operands: usize) -> usize {
    if inputs.last().is_some_and(|name| name.ends_with("[]")) {
        n_operands.saturating_sub(outputs.len())
    } else {
        inputs.len()
    }
}
