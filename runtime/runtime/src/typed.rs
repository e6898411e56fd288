//! Tensors whose element type and rank are types, and models with a method per entry that takes and returns them.
//!
//! `ic-build` compiles a model in `build.rs` and describes its artifact by one [`typed_model!`](crate::typed_model);
//! [`include_model!`](crate::include_model) makes that a struct.

mod element;
mod locate;
mod macros;
mod tensor;

pub use element::{BF16, Element, F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, F16, I2, I4, U2, U4};
pub use tensor::{Tensor, TensorView};

use crate::{Error, LoadOptions, Model, Options, Session};

/// A session per entry of `names`, on the same threads and states. For generated code.
///
/// # Errors
/// If there is no such entry, or the options cannot be met.
#[doc(hidden)]
pub fn sessions<const N: usize>(model: &Model, names: [&str; N], options: &Options) -> Result<[Session; N], Error> {
    let mut sessions: Vec<Session> = Vec::with_capacity(N);
    for name in names {
        let session = match sessions.first() {
            Some(first) => first.sibling(name)?,
            None => model.session_entry(name, options)?,
        };
        sessions.push(session);
    }
    sessions.try_into().map_err(|_| Error::Typed("an entry is missing".into()))
}

/// The next of a run's results as a tensor of known type. For generated code.
///
/// # Errors
/// If the artifact is not the one that the code was generated for.
#[doc(hidden)]
pub fn next_output<T: Element, const RANK: usize>(
    outputs: &mut impl Iterator<Item = (String, crate::Tensor)>,
    name: &str,
) -> Result<Tensor<T, RANK>, Error> {
    let tensor = outputs.next().filter(|(found, _)| found == name).map(|(_, tensor)| tensor);
    let tensor = tensor.ok_or_else(|| Error::Typed(format!("the artifact has no output `{name}` in this place")))?;
    Tensor::from_untyped(tensor).map_err(|problem| Error::Typed(format!("output `{name}` {problem}")))
}

/// Bytes at a page boundary, where weights are used in place. For generated code.
#[doc(hidden)]
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Aligned<B: ?Sized> {
    /// The bytes.
    pub bytes: B,
}

/// Loads the artifact `file` that lies beside the program, or else in the folder `built` where it was made, and is the
/// one whose header has the hash `identity`, given in hexadecimal. All of it is checked, weights too. For generated code.
///
/// # Errors
/// If there is no such file, it is another artifact, or is damaged.
///
/// # Safety
/// The identity must be that of an artifact whose author is trusted. Nobody may change the file while it is in use,
/// as with the program's shared libraries.
#[doc(hidden)]
pub unsafe fn load_beside(
    file: &str,
    built: Option<&str>,
    identity: &str,
    options: &LoadOptions,
) -> Result<Model, Error> {
    let path = locate::beside_program(file, built)?;
    // SAFETY: the caller promises the same.
    let model = unsafe { Model::load_with(&path, options) }?;
    let found: String = model.identity().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != identity {
        let path = path.display();
        return Err(Error::Typed(format!(
            "`{path}` is not the artifact that this program was built with: copy it anew"
        )));
    }
    model.verify_weights()?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_in_order_and_by_type() {
        let outputs = || vec![("y".to_string(), crate::Tensor::from_elements(vec![2], vec![1f32, 2.0]))].into_iter();
        let y: Tensor<f32, 1> = next_output(&mut outputs(), "y").unwrap();
        assert_eq!((y.shape(), y.elements()), ([2], &[1.0, 2.0][..]));
        assert!(next_output::<f32, 1>(&mut outputs(), "z").is_err());
        let error = next_output::<f32, 2>(&mut outputs(), "y").unwrap_err().to_string();
        assert_eq!(error, "the program and its artifact disagree: output `y` is f32 of rank 1, expected f32 of rank 2");
        assert!(next_output::<i64, 1>(&mut outputs(), "y").is_err());
    }
}
