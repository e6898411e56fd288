//! `if`: one of two nested graphs. ONNX `If`.

use crate::eval::eval_graph;
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::{DType, Tensor};

crate::attrs! {
    /// The first region if the condition is true, else the second. Each takes the captures as its inputs.
    If {}
}

impl OpDef for If {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("condition"), OperandSpec::variadic("captures")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let condition = x.ty(0)?;
        ensure!(condition.dtype == DType::Bool, "`condition` must be bool, found {condition}");
        x.equal(&condition.elements(), &1.into(), "the number of conditions and 1")?;
        let [then, otherwise] = x.regions else {
            return Err(OpError(format!("needs two regions, found {}", x.regions.len())));
        };
        for (name, region) in [("then", then), ("else", otherwise)] {
            let inputs = region.inputs().iter().map(|&v| region.ty(v));
            let fits = inputs.map(Some).eq(x.types[1..].iter().copied());
            ensure!(fits, "the inputs of region `{name}` must have the types of the captures");
        }
        let (n, m) = (then.outputs().len(), otherwise.outputs().len());
        ensure!(n == m, "both regions must have the same number of outputs, found {n} and {m}");
        let outputs = then.outputs().iter().zip(otherwise.outputs());
        outputs.map(|(&a, &b)| unify(x, then.ty(a), otherwise.ty(b))).collect()
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let condition = x.get(0)?.elements::<bool>().and_then(|c| c.first().copied());
        let condition = condition.ok_or_else(|| OpError::new("`condition` must be bool"))?;
        let region = x.regions.get(usize::from(!condition)).ok_or_else(|| OpError::new("needs two regions"))?;
        let captures: Vec<Tensor> = (1..x.operands.len()).map(|i| x.get(i).cloned()).collect::<Result<_, _>>()?;
        eval_graph(region, &captures, &super::region_symbols(region, x))
    }
}

/// The type that both are, extents that cannot be compared being required to agree.
fn unify(x: &Operands, a: &Type, b: &Type) -> Result<Type, OpError> {
    match (a, b) {
        (Type::Tensor(a), Type::Tensor(b)) if a.dtype == b.dtype && a.rank() == b.rank() => {
            let mut ty = a.clone();
            for (extent, other) in ty.shape.iter_mut().zip(&b.shape) {
                *extent = x.equal(extent, other, "extents of an output of both regions")?;
            }
            Ok(ty.into())
        }
        _ if a == b => Ok(a.clone()),
        _ => Err(OpError(format!("an output must have one type in both regions, found {a} and {b}"))),
    }
}
