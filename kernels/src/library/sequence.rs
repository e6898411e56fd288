//! Sequences and optionals, which are handles of objects of the run.
//!
//! An optional is read as a sequence of at most one element. Positions count from the end where they are negative.

use super::args::{Args, error, kernels};
use crate::abi::KernelError;
use crate::host::{Boxed, Object};
use ic_types::DType;
use std::sync::Arc;

kernels! {
    /// The sequence of `x`, each a tensor or an object; an optional of at most one if `optional`.
    SEQUENCE_OF = "sequence_of" ["x[]"] -> ["y"] {"optional"}, sequence_of;
    /// `sequence` with `element` before `position`; at the end if that is absent.
    SEQUENCE_INSERT = "sequence_insert" ["sequence", "element", "position"] -> ["y"] {}, insert;
    /// `sequence` without the element at `position`, the last if that is absent.
    SEQUENCE_ERASE = "sequence_erase" ["sequence", "position"] -> ["y"] {}, erase;
    /// The number of elements.
    SEQUENCE_LENGTH = "sequence_length" ["sequence"] -> ["y"] {}, length;
    /// The extents of the tensor at `position`, which must be of `dtype` and of as many axes as `y` has elements.
    SEQUENCE_SHAPE = "sequence_shape" ["sequence", "position"] -> ["y"] {"dtype"}, shape;
    /// The tensor or object at `position`.
    SEQUENCE_AT = "sequence_at" ["sequence", "position"] -> ["y"] {}, at;
    /// The parts of `x` along an axis: of `split` elements each, the last perhaps of fewer, if that has rank 0, else of as
    /// many as each of `split` says; of one element each, without the axis unless `keep`, if it is absent.
    SEQUENCE_SPLIT = "sequence_split" ["x", "split"] -> ["y"] {"axis", "keep"}, split;
    /// A sequence of one tensor: the elements joined along an axis, a new one if `new_axis`.
    SEQUENCE_CONCAT = "sequence_concat" ["sequence"] -> ["y"] {"axis", "new_axis"}, concat;
}

/// Operand `index` as an object.
fn boxed(args: &Args, index: usize) -> Result<Object, KernelError> {
    let operand = args.operand(index)?;
    if operand.dtype == DType::Object {
        return object(args, index);
    }
    let tensor = Boxed { dtype: operand.dtype, shape: operand.shape.to_vec(), bytes: args.bytes(index)?.to_vec() };
    Ok(Object::Tensor(Arc::new(tensor)))
}

/// The object that operand `index`, a handle, stands for.
fn object(args: &Args, index: usize) -> Result<Object, KernelError> {
    match args.input::<u64>(index)? {
        [handle] => args.host().object(*handle),
        handles => Err(error(format!("expected one object, found {}", handles.len()))),
    }
}

/// Writes the next output, a handle.
fn give(args: &mut Args, object: Object) -> Result<(), KernelError> {
    let handle = args.host().add(object);
    match args.output::<u64>()? {
        [to] => *to = handle,
        to => return Err(error(format!("expected room for one object, found {}", to.len()))),
    }
    Ok(())
}

fn elements(args: &Args, index: usize) -> Result<Vec<Object>, KernelError> {
    Ok(object(args, index)?.elements().to_vec())
}

/// The only number of an input of i32 or i64, if it was given.
fn number(args: &Args, index: usize) -> Result<Option<i64>, KernelError> {
    if !args.is_present(index) {
        return Ok(None);
    }
    let found = match args.dtype(index)? {
        DType::I32 => args.input::<i32>(index)?.first().map(|&x| x.into()),
        _ => args.input::<i64>(index)?.first().copied(),
    };
    found.map(Some).ok_or_else(|| error("a position has no element"))
}

/// The place that `position` means among `n`.
fn place(position: i64, n: usize) -> Result<usize, KernelError> {
    let from_front = if position < 0 { position + n as i64 } else { position };
    let place = usize::try_from(from_front).ok().filter(|&place| place < n);
    place.ok_or_else(|| error(format!("position {position} is outside of a sequence of {n} elements")))
}

fn sequence_of(args: &mut Args) -> Result<(), KernelError> {
    let list = (0..args.n_inputs()).map(|i| boxed(args, i)).collect::<Result<Vec<_>, _>>()?;
    if !args.flag(0)? {
        return give(args, Object::Sequence(list));
    }
    give(args, Object::Optional(list.into_iter().next().map(Box::new)))
}

fn insert(args: &mut Args) -> Result<(), KernelError> {
    let (mut list, element) = (elements(args, 0)?, boxed(args, 1)?);
    let n = list.len();
    let at = match number(args, 2)? {
        None => n,
        Some(position) if position == n as i64 => n,
        Some(position) => place(position, n)?,
    };
    list.insert(at, element);
    give(args, Object::Sequence(list))
}

fn erase(args: &mut Args) -> Result<(), KernelError> {
    let mut list = elements(args, 0)?;
    let at = place(number(args, 1)?.unwrap_or(-1), list.len())?;
    list.remove(at);
    give(args, Object::Sequence(list))
}

fn length(args: &mut Args) -> Result<(), KernelError> {
    let n = elements(args, 0)?.len() as i64;
    args.output::<i64>()?.fill(n);
    Ok(())
}

/// The element at the position that operand 1 says.
fn element(args: &Args) -> Result<Object, KernelError> {
    let list = elements(args, 0)?;
    let at = place(number(args, 1)?.unwrap_or(0), list.len())?;
    Ok(list[at].clone())
}

fn tensor(object: &Object) -> Result<&Boxed, KernelError> {
    match object {
        Object::Tensor(tensor) => Ok(tensor),
        _ => Err(error("expected a tensor, found a sequence")),
    }
}

fn shape(args: &mut Args) -> Result<(), KernelError> {
    let element = element(args)?;
    let tensor = tensor(&element)?;
    let expected = args.attr(0)?;
    let y = args.output::<i64>()?;
    if tensor.dtype as i64 != expected || tensor.shape.len() != y.len() {
        let dtype = u8::try_from(expected).ok().and_then(DType::from_code).map_or("unknown", DType::name);
        return Err(error(format!(
            "expected a tensor of {dtype} with {} axes, found {}{:?}",
            y.len(),
            tensor.dtype,
            tensor.shape
        )));
    }
    y.copy_from_slice(&tensor.shape);
    Ok(())
}

fn at(args: &mut Args) -> Result<(), KernelError> {
    let element = element(args)?;
    let result = args.operand(args.n_inputs())?;
    if result.dtype == DType::Object {
        return give(args, element);
    }
    let tensor = tensor(&element)?;
    if tensor.dtype != result.dtype || tensor.shape != result.shape {
        return Err(error(format!(
            "expected {}{:?}, found {}{:?}",
            result.dtype, result.shape, tensor.dtype, tensor.shape
        )));
    }
    args.output_bytes()?.copy_from_slice(&tensor.bytes);
    Ok(())
}

fn split(args: &mut Args) -> Result<(), KernelError> {
    let x = args.shape(0)?;
    let axis = args.axis(0, x.len())?;
    let (extent, keep) = (x[axis], args.flag(1)? || args.is_present(1));
    let sizes: Vec<usize> = match number(args, 1)? {
        None => vec![1; extent],
        Some(size) if args.shape(1)?.is_empty() => {
            let size = usize::try_from(size).ok().filter(|&size| size > 0);
            let size = size.ok_or_else(|| error("the size of parts must be positive"))?;
            (0..extent).step_by(size).map(|first| size.min(extent - first)).collect()
        }
        Some(_) => {
            let sizes: Vec<i64> = match args.dtype(1)? {
                DType::I32 => args.input::<i32>(1)?.iter().map(|&x| x.into()).collect(),
                _ => args.input::<i64>(1)?.to_vec(),
            };
            sizes.into_iter().map(|size| size.max(0) as usize).collect()
        }
    };
    if sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size)) != extent {
        return Err(error(format!("parts of {sizes:?} do not make {extent}")));
    }
    let (dtype, bytes) = (args.dtype(0)?, args.bytes(0)?);
    let outer: usize = x[..axis].iter().product();
    let row = x[axis + 1..].iter().product::<usize>() * dtype.size().unwrap_or(0);
    let (mut first, mut parts) = (0, Vec::new());
    for size in sizes {
        let rows = (0..outer).flat_map(|o| &bytes[(o * extent + first) * row..][..size * row]);
        let mut shape: Vec<i64> = x.iter().map(|&d| d as i64).collect();
        shape[axis] = size as i64;
        if !keep {
            shape.remove(axis);
        }
        parts.push(Object::Tensor(Arc::new(Boxed { dtype, shape, bytes: rows.copied().collect() })));
        first += size;
    }
    give(args, Object::Sequence(parts))
}

fn concat(args: &mut Args) -> Result<(), KernelError> {
    let list = elements(args, 0)?;
    let tensors = list.iter().map(tensor).collect::<Result<Vec<_>, _>>()?;
    let first = *tensors.first().ok_or_else(|| error("an empty sequence has nothing to join"))?;
    let is_new = args.flag(1)?;
    let axis = args.axis(0, first.shape.len() + usize::from(is_new))?;
    let fits = |t: &&Boxed| {
        let same = |(a, (x, y)): (usize, (&i64, &i64))| x == y || (a == axis && !is_new);
        t.dtype == first.dtype
            && t.shape.len() == first.shape.len()
            && t.shape.iter().zip(&first.shape).enumerate().all(same)
    };
    if !tensors.iter().all(fits) {
        return Err(error("the elements of a sequence do not fit together"));
    }
    let mut shape = first.shape.clone();
    if is_new {
        shape.insert(axis, tensors.len() as i64);
    } else {
        shape[axis] = tensors.iter().map(|t| t.shape[axis]).sum();
    }
    let outer: i64 = shape[..axis].iter().product();
    let mut bytes = Vec::new();
    for o in 0..outer as usize {
        for t in &tensors {
            let row = t.bytes.len() / outer as usize;
            bytes.extend_from_slice(&t.bytes[o * row..(o + 1) * row]);
        }
    }
    let joined = Boxed { dtype: first.dtype, shape, bytes };
    give(args, Object::Sequence(vec![Object::Tensor(Arc::new(joined))]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Kernel, Serial};
    use crate::host::Host;
    use crate::library::testing::{Buffer, call};

    fn object(kernel: &Kernel, inputs: &[Buffer], attrs: &[i64], host: &Host) -> Result<Buffer, KernelError> {
        let y = [Buffer::out::<u64>(DType::Object, &[])];
        call(kernel, inputs, attrs, &y, &Serial, host)?;
        let [y] = y;
        Ok(y)
    }

    fn tensor_at(sequence: &Buffer, position: i64, shape: &[usize], host: &Host) -> Result<Vec<f32>, KernelError> {
        let handle = Buffer::new(DType::Object, &[], &sequence.values::<u64>());
        let y = [Buffer::out::<f32>(DType::F32, shape)];
        call(&SEQUENCE_AT, &[handle, Buffer::i64(&[], &[position])], &[], &y, &Serial, host)?;
        Ok(y[0].values())
    }

    #[test]
    fn parts_come_back_joined() {
        let host = Host::new(0);
        let x: Vec<f32> = (0..10).map(|x| x as f32).collect();
        let inputs = [Buffer::f32(&[2, 5], &x), Buffer::i64(&[], &[2])];
        let parts = object(&SEQUENCE_SPLIT, &inputs, &[1, 1], &host).unwrap();
        assert_eq!(tensor_at(&parts, -1, &[2, 1], &host).unwrap(), [4.0, 9.0]);
        assert!(tensor_at(&parts, 3, &[2, 1], &host).is_err());
        assert!(tensor_at(&parts, 0, &[2, 1], &host).is_err());
        let list = |sequence: &Buffer| Buffer::new(DType::Object, &[], &sequence.values::<u64>());
        let joined = object(&SEQUENCE_CONCAT, &[list(&parts)], &[1, 0], &host).unwrap();
        assert_eq!(tensor_at(&joined, 0, &[2, 5], &host).unwrap(), x);
        let inputs = [list(&parts), Buffer::f32(&[1], &[7.0]), Buffer::i64(&[], &[0])];
        let longer = object(&SEQUENCE_INSERT, &inputs, &[], &host).unwrap();
        assert_eq!(tensor_at(&longer, 0, &[1], &host).unwrap(), [7.0]);
        let shorter = object(&SEQUENCE_ERASE, &[list(&longer), Buffer::absent()], &[], &host).unwrap();
        let y = [Buffer::out::<i64>(DType::I64, &[])];
        call(&SEQUENCE_LENGTH, &[list(&shorter)], &[], &y, &Serial, &host).unwrap();
        assert_eq!(y[0].values::<i64>(), [3]);
        let y = [Buffer::out::<i64>(DType::I64, &[2])];
        let at = || [list(&shorter), Buffer::i64(&[], &[1])];
        call(&SEQUENCE_SHAPE, &at(), &[DType::F32 as i64], &y, &Serial, &host).unwrap();
        assert_eq!(y[0].values::<i64>(), [2, 2]);
        assert!(call(&SEQUENCE_SHAPE, &at(), &[DType::F64 as i64], &y, &Serial, &host).is_err());
    }
}
