//! What the calls of one run share beside tensors: the strings and objects that elements are handles of, and the number
//! of the run.
//!
//! Equal strings have equal handles, so that kernels that move or compare 8-byte elements do so with strings too. The
//! handle 0 is the empty string, or the empty sequence. What a run makes lives until the run ends.

use crate::abi::KernelError;
use ic_types::{DType, Data, Object as Value, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// A sequence, an optional, or a tensor in one. Elements are handles.
#[derive(Clone, Debug)]
pub enum Object {
    /// A dense tensor.
    Tensor(Arc<Boxed>),
    /// A list.
    Sequence(Vec<Object>),
    /// Something or nothing.
    Optional(Option<Box<Object>>),
}

/// A tensor in an object. Strings are handles.
#[derive(Debug)]
pub struct Boxed {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<i64>,
    /// The elements as they are in memory.
    pub bytes: Vec<u8>,
}

impl Object {
    /// The elements of a sequence, or of an optional as one of at most one; none of a tensor.
    pub fn elements(&self) -> &[Object] {
        match self {
            Object::Sequence(elements) => elements,
            Object::Optional(Some(element)) => std::slice::from_ref(element),
            Object::Tensor(_) | Object::Optional(None) => &[],
        }
    }
}

/// What the calls of a run share.
#[derive(Debug, Default)]
pub struct Host {
    /// How many runs of the session came before.
    pub run: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    strings: Vec<Arc<str>>,
    handles: HashMap<Arc<str>, u64>,
    objects: Vec<Object>,
}

impl Host {
    /// The host of the run after `run` others.
    pub fn new(run: u64) -> Host {
        Host { run, state: Mutex::default() }
    }

    /// A host for calls that share nothing.
    pub fn none() -> &'static Host {
        static NONE: LazyLock<Host> = LazyLock::new(Host::default);
        &NONE
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of a string.
    pub fn intern(&self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        let mut state = self.state();
        if let Some(&handle) = state.handles.get(text) {
            return handle;
        }
        let text: Arc<str> = text.into();
        state.strings.push(text.clone());
        let handle = state.strings.len() as u64;
        state.handles.insert(text, handle);
        handle
    }

    /// The string of a handle.
    ///
    /// # Errors
    /// If there is none: the element was never written.
    pub fn text(&self, handle: u64) -> Result<Arc<str>, KernelError> {
        match (handle as usize).checked_sub(1) {
            None => Ok("".into()),
            Some(at) => self.state().strings.get(at).cloned().ok_or_else(|| unknown("string", handle)),
        }
    }

    /// The handle of a new object.
    pub fn add(&self, object: Object) -> u64 {
        let mut state = self.state();
        state.objects.push(object);
        state.objects.len() as u64
    }

    /// The object of a handle.
    ///
    /// # Errors
    /// If there is none: the element was never written.
    pub fn object(&self, handle: u64) -> Result<Object, KernelError> {
        match (handle as usize).checked_sub(1) {
            None => Ok(Object::Sequence(Vec::new())),
            Some(at) => self.state().objects.get(at).cloned().ok_or_else(|| unknown("object", handle)),
        }
    }

    /// The handles of elements of a caller's tensor; `None` if its elements are no handles.
    pub fn handles_of(&self, data: &Data) -> Option<Vec<u64>> {
        match data {
            Data::String(texts) => Some(texts.iter().map(|text| self.intern(text)).collect()),
            Data::Object(values) => Some(values.iter().map(|value| self.add(self.object_of(value))).collect()),
            _ => None,
        }
    }

    /// The elements of handles, for a caller.
    ///
    /// # Errors
    /// If there is no such element.
    pub fn elements_of(&self, dtype: DType, handles: &[u64]) -> Result<Data, KernelError> {
        if dtype == DType::String {
            let texts = handles.iter().map(|&handle| Ok(self.text(handle)?.to_string()));
            return Ok(Data::String(texts.collect::<Result<_, KernelError>>()?));
        }
        let values = handles.iter().map(|&handle| self.value_of(&self.object(handle)?));
        Ok(Data::Object(values.collect::<Result<_, _>>()?))
    }

    fn object_of(&self, value: &Value) -> Object {
        match value {
            Value::Tensor(tensor) => {
                let handles = self.handles_of(tensor.data());
                let bytes = match handles {
                    Some(handles) => handles.iter().flat_map(|handle| handle.to_ne_bytes()).collect(),
                    None => tensor.data().to_le_bytes(),
                };
                let shape = tensor.shape().iter().map(|&extent| extent as i64).collect();
                Object::Tensor(Arc::new(Boxed { dtype: tensor.dtype(), shape, bytes }))
            }
            Value::Sequence(elements) => Object::Sequence(elements.iter().map(|e| self.object_of(e)).collect()),
            Value::Optional(element) => Object::Optional(element.as_ref().map(|e| Box::new(self.object_of(e)))),
        }
    }

    fn value_of(&self, object: &Object) -> Result<Value, KernelError> {
        Ok(match object {
            Object::Tensor(boxed) => {
                let data = if boxed.dtype.is_handle() {
                    let handles: Vec<u64> =
                        boxed.bytes.as_chunks::<8>().0.iter().map(|b| u64::from_ne_bytes(*b)).collect();
                    self.elements_of(boxed.dtype, &handles)?
                } else {
                    let data = Data::from_le_bytes(boxed.dtype, &boxed.bytes);
                    data.ok_or_else(|| KernelError(format!("an object does not hold elements of {}", boxed.dtype)))?
                };
                let shape: Vec<usize> = boxed.shape.iter().map(|&extent| extent.max(0) as usize).collect();
                if shape.iter().product::<usize>() != data.len() {
                    return Err(KernelError(format!("an object of shape {shape:?} has {} elements", data.len())));
                }
                Value::Tensor(Tensor::new(shape, data))
            }
            Object::Sequence(elements) => {
                Value::Sequence(elements.iter().map(|e| self.value_of(e)).collect::<Result<_, _>>()?)
            }
            Object::Optional(None) => Value::Optional(None),
            Object::Optional(Some(element)) => Value::Optional(Some(Box::new(self.value_of(element)?))),
        })
    }
}

fn unknown(what: &str, handle: u64) -> KernelError {
    KernelError(format!("{handle} is the handle of no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back() {
        let host = Host::new(0);
        let texts = Data::String(vec!["a".into(), String::new(), "ü".into(), "a".into()]);
        let handles = host.handles_of(&texts).unwrap();
        assert_eq!((handles[0], handles[1]), (handles[3], 0));
        assert_eq!(host.elements_of(DType::String, &handles), Ok(texts.clone()));
        let tensors = [Tensor::scalar(1.5f32), Tensor::new(vec![2, 2], texts)];
        let list = Value::Sequence(tensors.map(Value::Tensor).into());
        let data = Data::Object(vec![list.clone(), Value::Optional(None), Value::Optional(Some(Box::new(list)))]);
        let handles = host.handles_of(&data).unwrap();
        assert_eq!(host.elements_of(DType::Object, &handles), Ok(data));
        assert!(host.object(99).is_err() && host.text(99).is_err());
    }
}
