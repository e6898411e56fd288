//! The results of a run, reusable by the next.

use crate::Error;
use ic_artifact::Entry;
use ic_types::{DType, Tensor};
use std::ops::Index;

/// Named results in the entry's order. Passed to [`Session::run_into`](crate::Session::run_into) again, their memory is
/// reused.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Outputs {
    items: Vec<(String, Tensor)>,
}

impl Outputs {
    /// No results yet.
    pub fn new() -> Outputs {
        Outputs::default()
    }

    /// The result called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.items.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor)
    }

    /// Names and results in the entry's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.items.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of results.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Names and element types become those of `entry`; allocates only if they are not already.
    pub(crate) fn prepare(&mut self, entry: &Entry) {
        let fits = self.items.len() == entry.outputs.len()
            && self
                .items
                .iter()
                .zip(&entry.outputs)
                .all(|((name, tensor), port)| *name == port.name && tensor.dtype() as u8 == port.dtype);
        if !fits {
            let empty = |dtype| Tensor::zeros(DType::from_code(dtype).unwrap_or(DType::U8), vec![0]);
            self.items = entry.outputs.iter().map(|port| (port.name.clone(), empty(port.dtype))).collect();
        }
    }

    /// The element type of result `index`.
    pub(crate) fn dtype(&self, index: usize) -> DType {
        self.items[index].1.dtype()
    }

    /// Lets result `index` be a tensor.
    pub(crate) fn set(&mut self, index: usize, tensor: Tensor) {
        self.items[index].1 = tensor;
    }

    /// Gives result `index` its shape and returns its memory.
    pub(crate) fn shape(&mut self, index: usize, shape: &[usize]) -> Result<*mut u8, Error> {
        let (name, tensor) = &mut self.items[index];
        if tensor.shape() != shape {
            let bytes = shape.iter().fold(tensor.dtype().size().unwrap_or(1), |n, &extent| n.saturating_mul(extent));
            tensor.try_resize(shape).map_err(|_| Error::memory(&format!("output `{name}`"), bytes))?;
        }
        Ok(tensor.data_mut().as_mut_ptr())
    }
}

impl Index<usize> for Outputs {
    type Output = Tensor;

    fn index(&self, index: usize) -> &Tensor {
        &self.items[index].1
    }
}

impl Index<&str> for Outputs {
    type Output = Tensor;

    /// # Panics
    /// If there is no result of that name.
    fn index(&self, name: &str) -> &Tensor {
        match self.get(name) {
            Some(tensor) => tensor,
            None => panic!("no output `{name}`"),
        }
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}
