//! A C program that calls the text of a kernel once it is an object: what a launch on the device would do, block by
//! block.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A launch of a kernel.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The function in the text.
    pub name: &'a str,
    /// The text, in either spelling.
    pub text: &'a str,
    /// Which memory each argument is: tensors that are read, then tensors that are written, or buffers.
    pub buffers: Vec<usize>,
    /// The integers of the launch.
    pub dims: Vec<i64>,
    /// Blocks on each axis.
    pub grid: [i64; 3],
}

/// What MLIR's lowering of strided copies calls.
const MEMREF_COPY: &str = r#"#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char *allocated, *aligned; int64_t offset, extents_and_strides[]; } Memref;
typedef struct { int64_t rank; Memref *memref; } Unranked;

void memrefCopy(int64_t size, Unranked *from, Unranked *to) {
  int64_t rank = from->rank, n = 1, *extents = from->memref->extents_and_strides;
  for (int64_t i = 0; i < rank; i++) n *= extents[i];
  for (int64_t at = 0; at < n; at++) {
    int64_t rest = at, source = from->memref->offset, target = to->memref->offset;
    for (int64_t i = rank - 1; i >= 0; i--) {
      source += rest % extents[i] * extents[rank + i];
      target += rest % extents[i] * to->memref->extents_and_strides[rank + i];
      rest /= extents[i];
    }
    memcpy(to->memref->aligned + target * size, from->memref->aligned + source * size, size);
  }
}
"#;

/// One argument or result in the text.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Parameter {
    /// A tensor or memref: its extents, `None` where they are not fixed, and the size of an element.
    Memory(Vec<Option<i64>>, i64),
    /// Memory that only the device has: a lock, a workspace.
    Device,
    /// An integer of the launch.
    Scalar,
    /// An extent of the grid or a block's place in it.
    Grid,
}

/// The C program. It reads the memory that the call touches from a file, in ascending order, calls the function, and
/// writes the memory to another.
///
/// # Errors
/// If the text has no such function, or the call does not fit it.
pub(crate) fn driver(call: &Call, memory: &[Vec<u8>]) -> Result<String> {
    let parameters = parameters(call.name, call.text)?;
    let touched = touched(call);
    let mut text = format!("{MEMREF_COPY}extern void {}();\n", call.name);
    text += "int main(int n, char **args) {\n  FILE *in = fopen(args[1], \"rb\"), *out = fopen(args[2], \"wb\");\n";
    for &id in &touched {
        let bytes = memory[id].len();
        writeln!(text, "  char *p{id} = malloc({bytes} + 64);")?;
        writeln!(text, "  if (fread(p{id}, 1, {bytes}, in) != {bytes}) return 1;")?;
    }
    let arguments = arguments(call, &parameters, memory)?.join(", ");
    let [x, y, z] = call.grid;
    if parameters.contains(&Parameter::Grid) {
        text +=
            "  for (int32_t z = 0; z < %z; z++) for (int32_t y = 0; y < %y; y++) for (int32_t x = 0; x < %x; x++)\n"
                .replace("%z", &z.to_string())
                .replace("%y", &y.to_string())
                .replace("%x", &x.to_string())
                .as_str();
        writeln!(text, "    {}({arguments}, {x}, {y}, {z}, x, y, z);", call.name)?;
    } else {
        writeln!(text, "  {}({arguments});", call.name)?;
    }
    for &id in &touched {
        writeln!(text, "  fwrite(p{id}, 1, {}, out);", memory[id].len())?;
    }
    Ok(text + "  return fclose(out);\n}\n")
}

/// The memory that a call touches, in ascending order.
pub(crate) fn touched(call: &Call) -> Vec<usize> {
    call.buffers.iter().copied().collect::<BTreeSet<usize>>().into_iter().collect()
}

/// The function's arguments, then its results.
fn parameters(name: &str, text: &str) -> Result<Vec<Parameter>> {
    let head = format!("func.func @{name}(");
    let (_, rest) = text.split_once(&head).with_context(|| format!("the text has no function `{name}`"))?;
    let (arguments, rest) = rest.split_once(')').context("arguments without an end")?;
    let mut list = Vec::new();
    for argument in arguments.split(", ").filter(|text| !text.is_empty()) {
        let (name, ty) = argument.split_once(": ").with_context(|| format!("`{argument}` has no type"))?;
        list.push(match ty {
            "i32" if name.starts_with("%d") => Parameter::Scalar,
            "i32" => Parameter::Grid,
            _ if ty.contains("hacc.arg_type") => Parameter::Device,
            _ => memory_type(ty)?,
        });
    }
    if let Some(results) = rest.strip_prefix(" -> (") {
        let (results, _) = results.split_once(')').context("results without an end")?;
        for ty in results.split(", ").filter(|text| !text.is_empty()) {
            list.push(memory_type(ty)?);
        }
    }
    Ok(list)
}

/// `tensor<?x512xf32>` or `memref<?xf16>`.
fn memory_type(text: &str) -> Result<Parameter> {
    let inner = text.strip_prefix("tensor<").or_else(|| text.strip_prefix("memref<"));
    let inner = inner.and_then(|t| t.strip_suffix('>')).with_context(|| format!("`{text}` is no memory"))?;
    let mut parts: Vec<&str> = inner.split('x').collect();
    let element = parts.pop().unwrap_or_default();
    let bits: i64 = element.trim_start_matches(|c: char| c.is_alphabetic()).parse()?;
    let extent = |part: &str| if part == "?" { Ok(None) } else { part.parse().map(Some) };
    let extents = parts.into_iter().map(extent).collect::<Result<_, _>>()?;
    Ok(Parameter::Memory(extents, (bits + 7) / 8))
}

/// C expressions for the arguments but those of the grid.
fn arguments(call: &Call, parameters: &[Parameter], memory: &[Vec<u8>]) -> Result<Vec<String>> {
    let is_grid = parameters.contains(&Parameter::Grid);
    let n_open: usize = parameters
        .iter()
        .map(|parameter| match parameter {
            Parameter::Memory(extents, _) if !is_grid => extents.iter().filter(|extent| extent.is_none()).count(),
            _ => 0,
        })
        .sum();
    let n_scalars = parameters.iter().filter(|parameter| **parameter == Parameter::Scalar).count();
    ensure!(call.dims.len() == n_open + n_scalars, "{} integers for {n_open} extents and {n_scalars}", call.dims.len());
    let (mut open, mut scalars) = (call.dims[..n_open].iter(), call.dims[n_open..].iter());
    let mut buffers = call.buffers.iter();
    let mut list = Vec::new();
    for parameter in parameters {
        match parameter {
            Parameter::Grid => {}
            Parameter::Device => list.push(descriptor("(char *)0", &[0])),
            Parameter::Scalar => list.push(format!("(int32_t){}", scalars.next().context("a scalar")?)),
            Parameter::Memory(extents, size) => {
                let id = *buffers.next().context("fewer buffers than arguments")?;
                let len = memory[id].len() as i64 / size;
                let extent = |extent: &Option<i64>| match extent {
                    Some(extent) => Ok(*extent),
                    None if is_grid => Ok(len),
                    None => open.next().copied().context("an extent"),
                };
                let extents = extents.iter().map(extent).collect::<Result<Vec<i64>>>()?;
                let n: i64 = extents.iter().product();
                ensure!(n == len, "argument {extents:?} of `{}` has {len} elements", call.name);
                list.push(descriptor(&format!("p{id}"), &extents));
            }
        }
    }
    ensure!(buffers.next().is_none(), "more buffers than arguments of `{}`", call.name);
    Ok(list)
}

/// The arguments that stand for a dense tensor.
fn descriptor(pointer: &str, shape: &[i64]) -> String {
    let mut text = format!("{pointer}, {pointer}, (int64_t)0");
    for extent in shape {
        text += &format!(", (int64_t){extent}");
    }
    for axis in 0..shape.len() {
        text += &format!(", (int64_t){}", shape[axis + 1..].iter().product::<i64>());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read() {
        let text = "func.func @k(%a0: tensor<?x512xf32>, %d0: i32) -> (tensor<?xi1>) attributes {x} {\n";
        let expected =
            [Parameter::Memory(vec![None, Some(512)], 4), Parameter::Scalar, Parameter::Memory(vec![None], 1)];
        assert_eq!(parameters("k", text).unwrap(), expected);
        let text = "func.func @k(%lock: memref<?xi8> {hacc.arg_type = #hacc.arg_type<sync_block_lock>}, %p0: \
                    memref<?xf16>, %gx: i32) {\n";
        let expected = [Parameter::Device, Parameter::Memory(vec![None], 2), Parameter::Grid];
        assert_eq!(parameters("k", text).unwrap(), expected);
        assert!(parameters("other", text).is_err());
    }
}
