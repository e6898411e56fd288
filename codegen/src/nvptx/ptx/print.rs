//! The text of a module.

use super::Function;
use super::instruction::{
    Binary, Class, Compare, Instruction, Label, Left, MmaKind, Operand, Reg, Rounding, Space, Special, Ty, Unary,
    WarpgroupMma,
};
use crate::target::NvptxTarget;
use std::fmt::Write;

/// The module of these functions for `target` (sections 11.1 and 11.2).
pub(crate) fn module_text(target: NvptxTarget, functions: &[Function]) -> String {
    // The first version that knows the target and every instruction.
    let version = match target {
        NvptxTarget::Sm80 => "7.1",
        NvptxTarget::Sm89 => "7.8",
        NvptxTarget::Sm90a => "8.0",
        NvptxTarget::Sm100a => "8.6",
    };
    let mut text = format!(".version {version}\n.target {}\n.address_size 64\n", target.arch());
    if functions.iter().any(|function| function.dynamic_bytes() > 0) {
        text += "\n.extern .shared .align 1024 .b8 shared[];\n";
    }
    for function in functions {
        text += "\n";
        text += &function_text(function);
    }
    text
}

/// One kernel.
pub(crate) fn function_text(function: &Function) -> String {
    let mut text = String::new();
    let n = function.n_buffers + function.n_dims;
    let parameter = |i: usize| {
        let ty = if i < function.n_buffers { "u64" } else { "u32" };
        format!("\t.param .{ty} {}_p{i}", function.name)
    };
    let parameters: Vec<String> = (0..n).map(parameter).collect();
    let _ = writeln!(text, ".visible .entry {}(\n{}\n)", function.name, parameters.join(",\n"));
    let _ = writeln!(text, ".maxntid {}, 1, 1\n{{", function.threads);
    for &class in Class::ALL {
        let count = function.registers[class as usize];
        if count > 0 {
            let _ = writeln!(text, "\t.reg .{} {}<{count}>;", class.declared(), class.prefix());
        }
    }
    if function.shared_bytes > function.dynamic_bytes() {
        let _ = writeln!(text, "\t.shared .align 1024 .b8 shared[{}];", function.shared_bytes);
    }
    if function.dynamic_bytes() > 0 {
        let _ = writeln!(text, "\t// {} bytes of shared memory, given by the launch", function.dynamic_bytes());
    }
    for instruction in &function.body {
        match instruction {
            Instruction::Label(label) => {
                let _ = writeln!(text, "{}:", label_name(*label));
            }
            _ => {
                let _ = writeln!(text, "\t{};", instruction_text(instruction, &function.name));
            }
        }
    }
    text += "}\n";
    text
}

fn label_name(label: Label) -> String {
    format!("$L{}", label.0)
}

fn reg(reg: Reg) -> String {
    format!("{}{}", reg.class.prefix(), reg.index)
}

fn operand(operand: Operand) -> String {
    match operand {
        Operand::Reg(r) => reg(r),
        Operand::Int(value) => value.to_string(),
        Operand::F32(bits) => format!("0f{bits:08X}"),
        Operand::F64(bits) => format!("0d{bits:016X}"),
    }
}

fn list(regs: &[Reg]) -> String {
    match regs {
        [only] => reg(*only),
        _ => braces(regs),
    }
}

fn braces(regs: &[Reg]) -> String {
    format!("{{{}}}", regs.iter().map(|&r| reg(r)).collect::<Vec<_>>().join(", "))
}

fn guarded(guard: Option<Reg>) -> String {
    guard.map_or(String::new(), |p| format!("@{} ", reg(p)))
}

fn vector(n: usize) -> String {
    if n == 1 { String::new() } else { format!(".v{n}") }
}

fn address(space: Space, base: Operand, offset: i32) -> String {
    let base = match (space, base) {
        (Space::Shared, Operand::Int(at)) => format!("shared+{}", at + i64::from(offset)),
        (_, base) if offset == 0 => operand(base),
        (_, base) => format!("{}+{offset}", operand(base)),
    };
    format!("[{base}]")
}

fn space_name(space: Space) -> &'static str {
    match space {
        Space::Global => "global",
        Space::Shared => "shared",
    }
}

fn instruction_text(instruction: &Instruction, function: &str) -> String {
    use Instruction as I;
    match instruction {
        I::Param { dst, index } => {
            let ty = if dst.class == Class::B64 { "u64" } else { "u32" };
            format!("ld.param.{ty} {}, [{function}_p{index}]", reg(*dst))
        }
        I::Special { dst, from } => {
            let name = match from {
                Special::Thread => "%tid.x",
                Special::Block => "%ctaid.x",
            };
            format!("mov.u32 {}, {name}", reg(*dst))
        }
        I::SharedAddress { dst, at } => format!("mov.u32 {}, shared+{at}", reg(*dst)),
        I::Unary { op, ty, dst, a } => format!("{} {}, {}", unary_name(*op, *ty), reg(*dst), operand(*a)),
        I::Binary { op, ty, dst, a, b } => {
            format!("{} {}, {}, {}", binary_name(*op, *ty), reg(*dst), operand(*a), operand(*b))
        }
        I::Fma { ty, dst, a, b, c } => {
            let is_float = matches!(ty, Ty::F32 | Ty::F64 | Ty::F16x2 | Ty::Bf16x2);
            let name = if is_float { "fma.rn" } else { "mad.lo" };
            format!("{name}.{} {}, {}, {}, {}", ty.name(), reg(*dst), operand(*a), operand(*b), operand(*c))
        }
        I::MadWide { dst, a, b, c } => {
            format!("mad.wide.s32 {}, {}, {}, {}", reg(*dst), operand(*a), operand(*b), operand(*c))
        }
        I::SetP { compare, ty, dst, a, b } => {
            format!(
                "setp.{}.{} {}, {}, {}",
                compare_name(*compare, *ty),
                ty.name(),
                reg(*dst),
                operand(*a),
                operand(*b)
            )
        }
        I::SelP { ty, dst, yes, no, p } => {
            format!("selp.{} {}, {}, {}, {}", ty.name(), reg(*dst), operand(*yes), operand(*no), reg(*p))
        }
        I::Cvt { rounding, to, from, dst, a } => {
            format!("cvt{}.{}.{} {}, {}", rounding_name(*rounding), to.name(), from.name(), reg(*dst), operand(*a))
        }
        I::Pack { dst, parts } => format!("mov.b32 {}, {}", reg(*dst), braces(parts)),
        I::Round { ty, dst, parts: [low, high] } => {
            format!("cvt.rn.{}x2.f32 {}, {}, {}", ty.name(), reg(*dst), reg(*high), reg(*low))
        }
        I::Unpack { parts, src } => format!("mov.b32 {}, {}", braces(parts), reg(*src)),
        _ => memory_text(instruction),
    }
}

/// Memory, control flow and what whole warps do.
fn memory_text(instruction: &Instruction) -> String {
    use Instruction as I;
    match instruction {
        I::Load { space, ty, dst, base, offset, guard } => {
            let (space_name, at) = (space_name(*space), address(*space, *base, *offset));
            format!("{}ld.{space_name}{}.{} {}, {at}", guarded(*guard), vector(dst.len()), ty.name(), list(dst))
        }
        I::Store { space, ty, src, base, offset, guard } => {
            let (space_name, at) = (space_name(*space), address(*space, *base, *offset));
            format!("{}st.{space_name}{}.{} {at}, {}", guarded(*guard), vector(src.len()), ty.name(), list(src))
        }
        I::Branch { to, guard } => {
            let guard = guard.map_or(String::new(), |(p, when)| format!("@{}{} ", if when { "" } else { "!" }, reg(p)));
            format!("{guard}bra {}", label_name(*to))
        }
        I::Barrier => "bar.sync 0".into(),
        I::WarpBarrier => "bar.warp.sync -1".into(),
        I::Shuffle { dst, src, mask } => {
            format!("shfl.sync.bfly.b32 {}, {}, {mask}, 31, -1", reg(*dst), reg(*src))
        }
        I::CopyAsync { to, offset, from, bytes, guard } => {
            let (to, guard) = (address(Space::Shared, *to, *offset), guarded(*guard));
            let ignored = if *bytes == Operand::Int(16) { String::new() } else { format!(", {}", operand(*bytes)) };
            format!("{guard}cp.async.cg.shared.global {to}, [{}], 16{ignored}", reg(*from))
        }
        I::NoUnroll => ".pragma \"nounroll\"".into(),
        I::CommitGroup => "cp.async.commit_group".into(),
        I::WaitGroup(n) => format!("cp.async.wait_group {n}"),
        I::LoadMatrix { dst, base, offset, transposed } => {
            let trans = if *transposed { ".trans" } else { "" };
            let at = address(Space::Shared, (*base).into(), *offset);
            format!("ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {}, {at}", braces(dst))
        }
        I::Mma { kind, acc, a, b } => {
            let (k, ty) = match kind {
                MmaKind::F16 => (16, "f16"),
                MmaKind::Bf16 => (16, "bf16"),
                MmaKind::Tf32 => (8, "tf32"),
            };
            let (acc, a, b) = (braces(acc), braces(a), braces(b));
            format!("mma.sync.aligned.m16n8k{k}.row.col.f32.{ty}.{ty}.f32 {acc}, {a}, {b}, {acc}")
        }
        I::ProxyFence => "fence.proxy.async".into(),
        I::WarpgroupFence => "wgmma.fence.sync.aligned".into(),
        I::WarpgroupMma(mma) => warpgroup_mma(mma),
        I::WarpgroupCommit => "wgmma.commit_group.sync.aligned".into(),
        I::WarpgroupWait(n) => format!("wgmma.wait_group.sync.aligned {n}"),
        _ => "ret".into(),
    }
}

fn warpgroup_mma(mma: &WarpgroupMma) -> String {
    let ty = if mma.kind == MmaKind::Bf16 { "bf16" } else { "f16" };
    let (acc, b, accumulates) = (braces(&mma.acc), reg(mma.b), reg(mma.accumulates));
    let (a, a_across) = match &mma.a {
        Left::Registers(words) => (braces(words), String::new()),
        Left::Memory(descriptor, across) => (reg(*descriptor), format!(" {},", u8::from(*across))),
    };
    format!(
        "wgmma.mma_async.sync.aligned.m64n{}k16.f32.{ty}.{ty} {acc}, {a}, {b}, {accumulates}, 1, 1,{a_across} {}",
        2 * mma.acc.len(),
        u8::from(mma.b_across)
    )
}

fn unary_name(op: Unary, ty: Ty) -> String {
    let name = match (op, ty) {
        (Unary::Mov, _) => "mov",
        (Unary::Neg, _) => "neg",
        (Unary::Abs, _) => "abs",
        (Unary::Not, _) => "not",
        (Unary::Sqrt, _) => "sqrt.rn",
        (Unary::SqrtApprox, _) => "sqrt.approx",
        (Unary::ReciprocalApprox, _) => "rcp.approx",
        (Unary::Exp2, _) => "ex2.approx.ftz",
    };
    format!("{name}.{}", ty.name())
}

fn binary_name(op: Binary, ty: Ty) -> String {
    let float = matches!(ty, Ty::F32 | Ty::F64);
    let name = match op {
        Binary::Add if float => "add.rn",
        Binary::Sub if float => "sub.rn",
        Binary::Mul if float => "mul.rn",
        Binary::Add => "add",
        Binary::Sub => "sub",
        Binary::Mul => "mul.lo",
        Binary::Div if float => "div.rn",
        Binary::Div => "div",
        Binary::DivFull => "div.full",
        Binary::Rem => "rem",
        Binary::Min if ty == Ty::F32 => "min.NaN",
        Binary::Max if ty == Ty::F32 => "max.NaN",
        Binary::Min => "min",
        Binary::Max => "max",
        Binary::And => "and",
        Binary::Or => "or",
        Binary::Xor => "xor",
        Binary::Shl => "shl",
        Binary::Shr => "shr",
    };
    format!("{name}.{}", ty.name())
}

fn compare_name(compare: Compare, ty: Ty) -> &'static str {
    let float = matches!(ty, Ty::F32 | Ty::F64);
    match compare {
        Compare::Eq => "eq",
        Compare::Ne if float => "neu",
        Compare::Ne => "ne",
        Compare::Lt => "lt",
        Compare::Le => "le",
        Compare::Gt => "gt",
        Compare::Ge => "ge",
    }
}

fn rounding_name(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::None => "",
        Rounding::Rn => ".rn",
        Rounding::Rna => ".rna",
        Rounding::Rni => ".rni",
        Rounding::Rzi => ".rzi",
        Rounding::Rmi => ".rmi",
        Rounding::Rpi => ".rpi",
    }
}
