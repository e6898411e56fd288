//! Scalar functions on values of any width.

use super::Emitter;
use super::value::{LANES, Rep, Val, Width};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};
use ic_ir::scalar::ScalarOp;
use ic_types::DType;

impl Emitter<'_> {
    /// `op(args)`, where `types` are the operands' types and `result` is the result's.
    pub(super) fn apply(&mut self, op: ScalarOp, types: &[DType], result: DType, args: &[Val]) -> Val {
        let operand = types[types.len() - 1];
        if args.iter().all(|arg| matches!(arg, Val::One(_))) {
            let values: Vec<Value> = args.iter().zip(types).map(|(&arg, &ty)| self.lane(arg, ty, 0)).collect();
            return Val::One(self.apply_to(op, operand, &values, Width::Scalar));
        }
        if has_vector_form(op, operand) && !Rep::of(result).is_wide() {
            let values: Vec<Value> = args.iter().zip(types).map(|(&arg, &ty)| self.vector(arg, ty)).collect();
            return Val::Vector(self.apply_to(op, operand, &values, Width::Vector));
        }
        let lanes: [Value; LANES] = std::array::from_fn(|lane| {
            let values: Vec<Value> = args.iter().zip(types).map(|(&arg, &ty)| self.lane(arg, ty, lane)).collect();
            self.apply_to(op, operand, &values, Width::Scalar)
        });
        self.joined(lanes, result)
    }

    fn apply_to(&mut self, op: ScalarOp, operand: DType, args: &[Value], width: Width) -> Value {
        if op == ScalarOp::Select {
            return self.pick(args[0], args[1], args[2]);
        }
        match Rep::of(operand) {
            Rep::Bool => self.bool_op(op, args),
            Rep::F32 | Rep::F64 => match self.compare_float(op, args) {
                Some(result) => result,
                None => {
                    let value = self.float_op(op, args, width);
                    self.rounded(operand, value)
                }
            },
            Rep::I32 | Rep::I64 => match self.compare_int(op, operand, args) {
                Some(result) => result,
                None => {
                    let value = self.int_op(op, operand, args);
                    self.normalized(operand, value)
                }
            },
        }
    }

    fn bool_op(&mut self, op: ScalarOp, args: &[Value]) -> Value {
        let (a, b) = (args[0], args[args.len() - 1]);
        match op {
            ScalarOp::Not => self.not(a),
            ScalarOp::And => self.b.ins().band(a, b),
            ScalarOp::Or => self.b.ins().bor(a, b),
            ScalarOp::Xor | ScalarOp::Ne => self.b.ins().bxor(a, b),
            ScalarOp::Eq => {
                let differs = self.b.ins().bxor(a, b);
                self.not(differs)
            }
            // false < true
            ScalarOp::Lt => self.and_not(b, a),
            ScalarOp::Gt => self.and_not(a, b),
            ScalarOp::Le => {
                let greater = self.and_not(a, b);
                self.not(greater)
            }
            ScalarOp::Ge => {
                let less = self.and_not(b, a);
                self.not(less)
            }
            _ => unreachable!("the type rule of `{}` excludes bool", op.name()),
        }
    }

    fn and_not(&mut self, a: Value, b: Value) -> Value {
        let not = self.not(b);
        self.b.ins().band(a, not)
    }

    fn compare_float(&mut self, op: ScalarOp, args: &[Value]) -> Option<Value> {
        let (a, b) = (args[0], args[args.len() - 1]);
        let condition = match op {
            ScalarOp::Eq => FloatCC::Equal,
            ScalarOp::Ne => FloatCC::NotEqual,
            ScalarOp::Lt => FloatCC::LessThan,
            ScalarOp::Le => FloatCC::LessThanOrEqual,
            ScalarOp::Gt => FloatCC::GreaterThan,
            ScalarOp::Ge => FloatCC::GreaterThanOrEqual,
            ScalarOp::IsNan => FloatCC::Unordered,
            ScalarOp::IsInf => {
                let magnitude = self.b.ins().fabs(a);
                let infinity = self.float_like(a, f64::INFINITY);
                return Some(self.b.ins().fcmp(FloatCC::Equal, magnitude, infinity));
            }
            _ => return None,
        };
        Some(self.b.ins().fcmp(condition, a, b))
    }

    fn compare_int(&mut self, op: ScalarOp, dtype: DType, args: &[Value]) -> Option<Value> {
        let signed = dtype.is_signed_int();
        let condition = match op {
            ScalarOp::Eq => IntCC::Equal,
            ScalarOp::Ne => IntCC::NotEqual,
            ScalarOp::Lt => IntCC::SignedLessThan,
            ScalarOp::Le => IntCC::SignedLessThanOrEqual,
            ScalarOp::Gt => IntCC::SignedGreaterThan,
            ScalarOp::Ge => IntCC::SignedGreaterThanOrEqual,
            _ => return None,
        };
        let condition = if signed { condition } else { condition.unsigned() };
        Some(self.b.ins().icmp(condition, args[0], args[1]))
    }
}

/// Whether four elements are computed at a time.
pub(super) fn has_vector_form(op: ScalarOp, operand: DType) -> bool {
    match Rep::of(operand) {
        Rep::F64 | Rep::I64 => false,
        Rep::Bool => true,
        Rep::F32 => !matches!(op, ScalarOp::Rem | ScalarOp::Mod) && !crate::shared::form::is_strip(op, operand),
        Rep::I32 => {
            !matches!(op, ScalarOp::Div | ScalarOp::Rem | ScalarOp::Mod | ScalarOp::Pow | ScalarOp::Shl | ScalarOp::Shr)
        }
    }
}
