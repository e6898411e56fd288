//! Matches what follows an integer contraction against the menu: floats from the sums, then a chain of the f32 menu's
//! ops, products and sums with numbers, quantization and dequantization, and 8-bit tensors added.

use super::epilogue::{MenuOp, is_column, is_whole, leads_to_result, strip};
use ic_ir::ScalarOp;
use ic_ir::kernel::{Expr, ExprId, Kernel, Load, Stage};
use ic_types::{DType, Dim};

/// The menu ops that compute the root of `stage` from the sums of stage 0; `None` if it is no chain of them.
pub(super) fn match_integer_menu(kernel: &Kernel, stage: &Stage) -> Option<Vec<MenuOp>> {
    let stored = kernel.params[stage.stores.last()?.param as usize].dtype;
    let matcher = Matcher { kernel, stage };
    let root = (stage.body.len() as ExprId).checked_sub(1)?;
    let chain = matcher.chain(root)?;
    let quantizes = matches!(chain.last(), Some(MenuOp::Quantize { to, .. }) if *to == stored);
    let fits = if stored == DType::F32 { !matches!(chain.last(), Some(MenuOp::Quantize { .. })) } else { quantizes };
    (fits && stage.stores.len() == 1).then_some(chain)
}

struct Matcher<'a> {
    kernel: &'a Kernel,
    stage: &'a Stage,
}

impl<'a> Matcher<'a> {
    fn expr(&self, at: ExprId) -> &'a Expr {
        &self.stage.body[at as usize]
    }

    /// The ops that make the float or quantized integer at `at` of the sums.
    fn chain(&self, at: ExprId) -> Option<Vec<MenuOp>> {
        match self.expr(at) {
            // Floats of sums, or of integers that have just been quantized: in registers those are floats.
            Expr::Cast(DType::F32, inner) => match self.expr(*inner) {
                Expr::Stage(0) => Some(Vec::new()),
                Expr::Cast(DType::U8 | DType::I8, _) => self.chain(*inner),
                _ => None,
            },
            Expr::Cast(to @ (DType::U8 | DType::I8), inner) => self.quantized(*to, *inner),
            Expr::Apply(function, args) => self.apply(*function, args),
            _ => None,
        }
    }

    fn apply(&self, function: ScalarOp, args: &[ExprId]) -> Option<Vec<MenuOp>> {
        let (spine, op) = match *args {
            [x] => (x, MenuOp::Strip(strip(function)?)),
            [a, b] => {
                let a_leads = leads_to_result(self.stage, a);
                let (spine, other) = if a_leads { (a, b) } else { (b, a) };
                (spine, self.binary(function, other, a_leads)?)
            }
            _ => return None,
        };
        let mut chain = self.chain(spine)?;
        chain.push(op);
        Some(chain)
    }

    fn binary(&self, function: ScalarOp, other: ExprId, spine_first: bool) -> Option<MenuOp> {
        if let Some(number) = self.number(other) {
            return match function {
                ScalarOp::Add => Some(MenuOp::Offset(number)),
                ScalarOp::Sub if spine_first => Some(MenuOp::Offset(-number)),
                ScalarOp::Mul => Some(MenuOp::Scale(number)),
                ScalarOp::Max => Some(MenuOp::Clamp(number, f32::INFINITY)),
                ScalarOp::Min => Some(MenuOp::Clamp(f32::NEG_INFINITY, number)),
                _ => None,
            };
        }
        if let (ScalarOp::Add, Some(op)) = (function, self.dequantized(other)) {
            return Some(op);
        }
        let Expr::Load(load) = self.expr(other) else { return None };
        if self.kernel.params[load.param as usize].dtype != DType::F32 {
            return None;
        }
        let whole = is_whole(self.kernel, self.stage, load);
        match function {
            ScalarOp::Mul if self.is_single(load) => Some(MenuOp::MulScalar(load.param)),
            ScalarOp::Add if is_column(self.kernel, load) => Some(MenuOp::AddColumn(load.param)),
            ScalarOp::Mul if is_column(self.kernel, load) => Some(MenuOp::MulColumn(load.param)),
            ScalarOp::Add if whole => Some(MenuOp::AddTensor(load.param)),
            ScalarOp::Mul if whole => Some(MenuOp::MulTensor(load.param)),
            _ => None,
        }
    }

    /// Whether the load reads the only element of a parameter.
    fn is_single(&self, load: &Load) -> bool {
        let elements: Dim = self.kernel.params[load.param as usize].shape.iter().cloned().product();
        elements.is(1) && load.bounds.is_empty() && load.gathered.is_empty()
    }

    /// `(t - zero) * scale` for a tensor of 8-bit integers that is laid out as the result is.
    fn dequantized(&self, at: ExprId) -> Option<MenuOp> {
        let Expr::Apply(ScalarOp::Mul, args) = self.expr(at) else { return None };
        let [shifted, scale] = args[..] else { return None };
        let scale = self.number(scale)?;
        let (integer, zero) = match self.expr(shifted) {
            Expr::Apply(ScalarOp::Sub, args) => (*args.first()?, self.number(*args.get(1)?)?),
            _ => (shifted, 0.0),
        };
        let Expr::Cast(DType::F32, loaded) = self.expr(integer) else { return None };
        let Expr::Load(load) = self.expr(*loaded) else { return None };
        let narrow = matches!(self.kernel.params[load.param as usize].dtype, DType::U8 | DType::I8);
        let fits = narrow && is_whole(self.kernel, self.stage, load);
        fits.then_some(MenuOp::AddQuantized { param: load.param, scale, zero })
    }

    /// `min(max(round(x / scale) + zero, low), high)`, with the limits of `to`. What is not divided has a scale of 1.
    fn quantized(&self, to: DType, at: ExprId) -> Option<Vec<MenuOp>> {
        let (low, high) = if to == DType::I8 { (-128.0, 127.0) } else { (0.0, 255.0) };
        let at = self.limited(ScalarOp::Min, at, high)?;
        let at = self.limited(ScalarOp::Max, at, low)?;
        let (rounded, zero) = match self.expr(at) {
            Expr::Apply(ScalarOp::Add, args) => (*args.first()?, self.number(*args.get(1)?)?),
            _ => (at, 0.0),
        };
        let Expr::Apply(ScalarOp::Round, args) = self.expr(rounded) else { return None };
        let (x, scale) = match self.expr(*args.first()?) {
            Expr::Apply(ScalarOp::Div, args) => (*args.first()?, self.number(*args.get(1)?)?),
            _ => (*args.first()?, 1.0),
        };
        if scale <= 0.0 || !scale.is_finite() {
            return None;
        }
        let mut chain = self.chain(x)?;
        chain.push(MenuOp::Quantize { scale, zero, to });
        Some(chain)
    }

    fn limited(&self, function: ScalarOp, at: ExprId, limit: f32) -> Option<ExprId> {
        match self.expr(at) {
            Expr::Apply(found, args) if *found == function && self.number(*args.get(1)?) == Some(limit) => {
                args.first().copied()
            }
            _ => None,
        }
    }

    /// The number of a constant, converted to f32.
    fn number(&self, at: ExprId) -> Option<f32> {
        match self.expr(at) {
            Expr::Const(DType::F32, bits) => Some(f32::from_bits(*bits as u32)),
            Expr::Const(DType::U8, bits) => Some(f32::from(*bits as u8)),
            Expr::Const(DType::I8, bits) => Some(f32::from(*bits as u8 as i8)),
            Expr::Cast(DType::F32, inner) => match self.expr(*inner) {
                Expr::Const(DType::U8 | DType::I8, _) => self.number(*inner),
                _ => None,
            },
            _ => None,
        }
    }
}
