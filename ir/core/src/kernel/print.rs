//! The text form of programs and kernels: canonical, values numbered in order, no names of the model, so that equal
//! kernels give equal text.

use super::program::{Buffer, BufferKind, Loop, Program, ReadSymbol, Step};
use super::stage::{Anchor, Axis, Bound, Expr, Kernel, Load, Operand, Stage, Store};
use ic_types::{DType, Dim};
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, buffer) in self.buffers.iter().enumerate() {
            writeln!(f, "b{id}: {buffer}")?;
        }
        print_steps(f, &self.steps, 0)
    }
}

fn print_steps(f: &mut fmt::Formatter<'_>, steps: &[Step], depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    for step in steps {
        match step {
            Step::Read(symbols) => {
                for ReadSymbol { name, buffer, element } in symbols {
                    writeln!(f, "{indent}read {} = b{buffer}[{element}]", Dim::symbol(name))?;
                }
                continue;
            }
            Step::Kernel { kernel, args, .. } => {
                let args: Vec<String> = args.iter().map(|b| format!("b{b}")).collect();
                writeln!(f, "{indent}run({}) {{", args.join(", "))?;
                for line in kernel.to_string().lines() {
                    writeln!(f, "{indent}  {line}")?;
                }
            }
            Step::Loop(of) => print_loop(f, of, depth)?,
            Step::If { condition, then, otherwise, .. } => {
                writeln!(f, "{indent}if b{condition} {{")?;
                print_steps(f, then, depth + 1)?;
                writeln!(f, "{indent}}} else {{")?;
                print_steps(f, otherwise, depth + 1)?;
            }
        }
        writeln!(f, "{indent}}}")?;
    }
    Ok(())
}

fn print_loop(f: &mut fmt::Formatter<'_>, of: &Loop, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    let carried = of.carried.iter().map(|c| format!(" b{} = b{}", c.state, c.initial)).collect::<String>();
    let trips = of.trips.as_ref().map_or(String::new(), |trips| format!(" below {trips}"));
    let begin = of.begin.map_or(String::new(), |begin| format!(" if b{begin}"));
    writeln!(f, "{indent}loop b{}{trips}{begin}{carried} {{", of.counter)?;
    print_steps(f, &of.body, depth + 1)?;
    for (element, room) in &of.scans {
        writeln!(f, "{indent}  b{room}[b{}] = b{element}", of.counter)?;
    }
    for carried in &of.carried {
        writeln!(f, "{indent}  b{} = b{}", carried.state, carried.next)?;
    }
    writeln!(f, "{indent}  while b{}", of.goes_on)
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            BufferKind::Input(i) => write!(f, "{} input {i}", self.ty),
            BufferKind::Output(i) => write!(f, "{} output {i}", self.ty),
            BufferKind::Constant(_) => write!(f, "{} constant", self.ty),
            BufferKind::State(i) => write!(f, "{} state {i}", self.ty),
            BufferKind::NextState(i) => write!(f, "{} next state {i}", self.ty),
            BufferKind::Temporary => write!(f, "{} temporary", self.ty),
            BufferKind::View { of, offset } => write!(f, "{} view b{of} + {offset}", self.ty),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, param) in self.params.iter().enumerate() {
            let role = if param.is_output { "out" } else { "in" };
            writeln!(f, "p{i}: {role} {}[{}]", param.dtype, list(&param.shape))?;
        }
        if !self.outer.is_empty() {
            writeln!(f, "outer {}", axes(&self.outer, 0))?;
        }
        for (i, stage) in self.stages.iter().enumerate() {
            print_stage(f, stage, i, self.outer.len())?;
        }
        Ok(())
    }
}

fn print_stage(f: &mut fmt::Formatter<'_>, stage: &Stage, number: usize, n_outer: usize) -> fmt::Result {
    let inner = if stage.inner.is_empty() { String::new() } else { format!(" {}", axes(&stage.inner, n_outer)) };
    match &stage.anchor {
        Anchor::Pointwise => writeln!(f, "s{number}: pointwise{inner}")?,
        Anchor::Reduce(function) => writeln!(f, "s{number}: reduce {}{inner}", function.name())?,
        Anchor::Op { op, operands, results } => {
            let operands: Vec<String> = operands.iter().map(|x| x.as_ref().map_or("_".into(), operand_text)).collect();
            let results: Vec<String> =
                results.iter().map(|r| r.map_or("_".into(), |param| format!("p{param}"))).collect();
            let attrs: Vec<String> = op.attrs().iter().map(|(name, text)| format!("{name} = {text}")).collect();
            let attrs = if attrs.is_empty() { String::new() } else { format!(" {{{}}}", attrs.join(", ")) };
            writeln!(f, "s{number}: {} = {}({}){attrs}{inner}", results.join(", "), op.name(), operands.join(", "))?;
        }
    }
    for (i, expr) in stage.body.iter().enumerate() {
        writeln!(f, "  %{i} = {expr}")?;
    }
    for store in &stage.stores {
        writeln!(f, "  {store}")?;
    }
    Ok(())
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Const(dtype, bits) => write!(f, "{}", constant_text(*dtype, *bits)),
            Expr::Index(index) => write!(f, "index {index}"),
            Expr::Load(load) => write!(f, "{load}"),
            Expr::Stage(stage) => write!(f, "s{stage}"),
            Expr::Apply(function, args) => {
                let args: Vec<String> = args.iter().map(|i| format!("%{i}")).collect();
                write!(f, "{}({})", function.name(), args.join(", "))
            }
            Expr::Cast(dtype, value) => write!(f, "cast(%{value}) to {dtype}"),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = |(axis, index): (usize, &super::Index)| {
            let gathered = self.gathered.iter().find(|(a, _)| *a as usize == axis);
            gathered.map_or_else(|| index.to_string(), |(_, value)| format!("%{value}"))
        };
        let indices: Vec<String> = self.indices.iter().enumerate().map(index).collect();
        write!(f, "load p{}[{}]{}", self.param, indices.join(", "), bounds_text(&self.bounds))?;
        self.otherwise.map_or(Ok(()), |other| write!(f, " else %{other}"))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indices: Vec<String> = self.indices.iter().map(ToString::to_string).collect();
        write!(f, "store p{}[{}] = %{}{}", self.param, indices.join(", "), self.value, bounds_text(&self.bounds))
    }
}

fn bounds_text(bounds: &[Bound]) -> String {
    let text = |b: &Bound| format!("{} <= {} < {}", b.low, b.index, b.high);
    if bounds.is_empty() { String::new() } else { format!(" if {}", join(bounds.iter().map(text))) }
}

fn operand_text(operand: &Operand) -> String {
    let Operand { param, shape, strides, offset } = operand;
    format!("p{param}[{}] strides [{}] + {offset}", list(shape), list(strides))
}

fn axes(axes: &[Axis], first: usize) -> String {
    join(axes.iter().enumerate().map(|(i, axis)| format!("i{} < {}", first + i, axis.extent)))
}

fn list(dims: &[Dim]) -> String {
    join(dims.iter().map(ToString::to_string))
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// A constant with its type: numbers as such, other elements as bits.
fn constant_text(dtype: DType, bits: u128) -> String {
    match dtype {
        DType::F32 => format!("{:?} : f32", f32::from_bits(bits as u32)),
        DType::F64 => format!("{:?} : f64", f64::from_bits(bits as u64)),
        DType::Bool => format!("{}", bits != 0),
        DType::I64 => format!("{} : i64", bits as u64 as i64),
        DType::I32 => format!("{} : i32", bits as u32 as i32),
        _ => format!("{bits:#x} : {dtype}"),
    }
}
