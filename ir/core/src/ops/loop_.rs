//! `loop`: a nested graph that runs again and again. ONNX `Loop` and `Scan`.

use crate::eval::{eval_graph, zeros};
use crate::{Graph, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// Runs its region while fewer than `trips` iterations have run and the condition, true if absent, holds.
    ///
    /// The region's inputs are the number of the iteration, i64 `[]`, the carried values and the captures. Its outputs are
    /// whether to go on, bool `[]`, the carried values for the next iteration, and scanned elements.
    ///
    /// Results: the carried values after the last iteration; the elements of each scan along a new first axis of extent
    /// `trips`, where what comes after the last iteration's is unspecified; and how many iterations ran, as i64 `[1]`.
    Loop {
        /// How many of the operands after the condition are carried from iteration to iteration. They keep their types.
        carried: usize,
        /// The most iterations; without it there are no scans.
        trips: Option<Dim> = None
    }
}

impl Loop {
    /// The body, with the number of its scans.
    fn body<'a>(&self, regions: &'a [Graph]) -> Result<(&'a Graph, usize), OpError> {
        let [body] = regions else { return Err(OpError(format!("needs one region, found {}", regions.len()))) };
        let n_scans = body.outputs().len().checked_sub(self.carried + 1);
        let n_scans = n_scans.ok_or_else(|| OpError(format!("the region gives {} values", body.outputs().len())))?;
        ensure!(self.trips.is_some() || n_scans == 0, "a loop with scans needs `trips`");
        Ok((body, n_scans))
    }
}

impl OpDef for Loop {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::optional("condition"), OperandSpec::variadic("values")];

    fn n_results(&self) -> usize {
        self.carried + 1
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (body, _) = self.body(x.regions)?;
        if let Some(condition) = x.opt(0) {
            ensure!(condition.dtype == DType::Bool, "`condition` must be bool, found {condition}");
            x.equal(&condition.elements(), &1.into(), "the number of conditions and 1")?;
        }
        let counter = Type::from(TensorType::fixed(DType::I64, &[]));
        let expected = std::iter::once(Some(&counter)).chain(x.types.iter().skip(1).copied());
        let fits = body.inputs().iter().map(|&v| Some(body.ty(v))).eq(expected);
        ensure!(fits, "the region must take a counter, the carried values and the captures");
        ensure!(x.types.len() > self.carried, "there are {} operands, {} are carried", x.types.len(), self.carried);
        let go_on = body.ty(body.outputs()[0]);
        ensure!(*go_on == TensorType::fixed(DType::Bool, &[]).into(), "whether to go on must be bool[], found {go_on}");
        let mut types = Vec::new();
        for (i, &output) in body.outputs().iter().enumerate().skip(1) {
            let Type::Tensor(ty) = body.ty(output) else {
                return Err(OpError(format!("output {i} of the region must be a tensor, found {}", body.ty(output))));
            };
            types.push(if i <= self.carried {
                check_carried(x, x.ty(i)?, ty)?;
                x.ty(i)?.clone().into()
            } else {
                let trips = self.trips.clone().unwrap_or_default();
                TensorType::new(ty.dtype, std::iter::once(trips).chain(ty.shape.iter().cloned()).collect()).into()
            });
        }
        types.push(TensorType::fixed(DType::I64, &[1]).into());
        Ok(types)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (body, n_scans) = self.body(x.regions)?;
        let trips = self.trips.as_ref().map(|trips| x.dim(trips)).transpose()?;
        let symbols = super::region_symbols(body, x);
        let mut goes_on = x.opt(0).is_none_or(|condition| truth(condition) == Some(true));
        let values = (1..x.operands.len()).map(|i| x.get(i).cloned()).collect::<Result<Vec<_>, _>>()?;
        let (mut carried, captures) = (values[..self.carried].to_vec(), &values[self.carried..]);
        let mut scans: Vec<Vec<Tensor>> = vec![Vec::new(); n_scans];
        let mut count = 0i64;
        while goes_on && trips.is_none_or(|trips| count < trips) {
            let counter = Tensor::scalar(count);
            let inputs: Vec<Tensor> = std::iter::once(&counter).chain(&carried).chain(captures).cloned().collect();
            let mut outputs = eval_graph(body, &inputs, &symbols)?.into_iter();
            goes_on = outputs.next().and_then(|t| truth(&t)).ok_or_else(|| OpError::new("no condition"))?;
            for value in &mut carried {
                let next = outputs.next().ok_or_else(|| OpError::new("a carried value is missing"))?;
                ensure!(
                    next.shape() == value.shape(),
                    "a carried value of {:?} becomes {:?}",
                    value.shape(),
                    next.shape()
                );
                *value = next;
            }
            scans.iter_mut().zip(outputs).for_each(|(scan, element)| scan.push(element));
            count += 1;
        }
        let trips = usize::try_from(trips.unwrap_or(0)).map_err(|_| OpError::new("`trips` is negative"))?;
        let types = body.outputs()[self.carried + 1..].iter().map(|&v| body.tensor_ty(v));
        for (elements, ty) in scans.iter().zip(types) {
            let own = ty.shape.iter().map(|d| Ok(d.eval(&|name| symbols.get(name).copied())? as usize));
            let own = own.collect::<Result<Vec<usize>, OpError>>()?;
            carried.push(stacked(elements, ty.dtype, own, trips)?);
        }
        carried.push(Tensor::from_elements(vec![1], vec![count]));
        Ok(carried)
    }
}

/// A carried value keeps its type.
fn check_carried(x: &Operands, before: &TensorType, after: &TensorType) -> Result<(), OpError> {
    let fits = before.dtype == after.dtype && before.rank() == after.rank();
    ensure!(fits, "a carried value is {before} before an iteration and {after} after it");
    for (a, b) in before.shape.iter().zip(&after.shape) {
        x.equal(a, b, "extents of a carried value before and after an iteration")?;
    }
    Ok(())
}

fn truth(condition: &Tensor) -> Option<bool> {
    condition.elements::<bool>()?.first().copied()
}

/// The elements, each of shape `own`, along a new first axis of extent `trips`.
fn stacked(elements: &[Tensor], dtype: DType, own: Vec<usize>, trips: usize) -> Result<Tensor, OpError> {
    let n: usize = own.iter().product();
    let mut whole = zeros(dtype, std::iter::once(trips).chain(own.iter().copied()).collect())?;
    for (i, element) in elements.iter().enumerate() {
        ensure!(element.shape() == own, "a scanned element must be {own:?}, found {:?}", element.shape());
        (0..n).for_each(|j| whole.data_mut().set(i * n + j, element.data(), j));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use crate::eval::{Symbols, eval_graph};
    use crate::text::{parse, print};
    use ic_types::Tensor;

    /// Doubles `x` until it is above a limit, and gives what it was before each iteration.
    const DOUBLE: &str = "graph @g(%x: f32[N], %limit: f32[]) {
      %0, %1, %2 = loop(_, %x, %limit) {carried = 1, trips = 4} : f32[N], f32[4, N], i64[1] regions {
        graph @body(%i: i64[], %a: f32[N], %l: f32[]) {
          %0 = add(%a, %a) : f32[N]
          %1 = reduce(%0) {function = max, axes = [0], keep_dims = false} : f32[]
          %2 = lt(%1, %l) : bool[]
          return \"go\" = %2, \"a\" = %0, \"s\" = %a
        }
      }
      return \"y\" = %0, \"all\" = %1, \"n\" = %2
    }";

    #[test]
    fn iterations_end_with_the_condition_or_the_limit() {
        let graph = parse(DOUBLE).unwrap();
        assert_eq!(print(&parse(&print(&graph)).unwrap()), print(&graph));
        assert!(crate::verify(&graph).is_empty());
        let run = |limit: f32| {
            let inputs = [Tensor::from_elements(vec![2], vec![1.0f32, 2.0]), Tensor::scalar(limit)];
            eval_graph(&graph, &inputs, &Symbols::new()).unwrap()
        };
        let y = run(7.0);
        assert_eq!(y[0], Tensor::from_elements(vec![2], vec![4.0f32, 8.0]));
        assert_eq!(y[1].elements::<f32>().unwrap(), [1.0, 2.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(y[2], Tensor::from_elements(vec![1], vec![2i64]));
        assert_eq!(run(1000.0)[2], Tensor::from_elements(vec![1], vec![4i64]));
    }

    #[test]
    fn carried_values_keep_their_types() {
        let grows = DOUBLE.replace("\"a\" = %0", "\"a\" = %1");
        assert!(parse(&grows).unwrap_err().to_string().contains("carried value"));
    }
}
