//! `call`: a nested graph that runs once, with a plan of its own.

use crate::eval::eval_graph;
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// The outputs of the region, whose inputs are the operands. Extents inside may depend on data, those of the outputs not.
    ///
    /// Regions of `if` and `loop` run within the plan around them, where every extent is known before the first step; what
    /// is not is put into such a graph.
    Call {
        /// The entry of the artifact that the region has become.
        entry: Option<usize> = None,
        /// What that entry gets besides the operands: values of symbols of the graph around it.
        symbols: Vec<Dim> = Vec::new()
    }
}

impl OpDef for Call {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::variadic("operands")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let [region] = x.regions else { return Err(OpError(format!("needs one region, found {}", x.regions.len()))) };
        let fits = region.inputs().iter().map(|&v| Some(region.ty(v))).eq(x.types.iter().copied());
        ensure!(fits, "the inputs of the region must have the types of the operands");
        let types: Vec<Type> = region.outputs().iter().map(|&v| region.ty(v).clone()).collect();
        let symbols = ic_types::symbols_of(types.iter().filter_map(Type::as_tensor).flat_map(|ty| &ty.shape));
        let inner = region.bindings().iter().find(|binding| symbols.contains(&binding.symbol));
        match inner {
            Some(binding) => Err(OpError(format!("the extent `{}` of an output depends on data", binding.symbol))),
            None => Ok(types),
        }
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let [region] = x.regions else { return Err(OpError::new("needs one region")) };
        let operands = (0..x.operands.len()).map(|i| x.get(i).cloned()).collect::<Result<Vec<_>, _>>()?;
        eval_graph(region, &operands, &super::region_symbols(region, x))
    }
}
