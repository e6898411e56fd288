//! An Ascend code section: the functions that the steps of the plans launch, by name.
//!
//! Each has its MLIR text, and its object where the vendor's compiler was there when the artifact was made. Arguments of a
//! launch are the buffers of the step, in order, then its integers: the extents of the axes of tensors that the text leaves
//! open (`?`), in the order of arguments and results, then the scalar arguments.

use serde::{Deserialize, Serialize};

/// What a section holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AscendSection {
    /// The functions; those of [`Plan::functions`](crate::Plan::functions) are here under the same names.
    pub functions: Vec<AscendFunction>,
}

/// A function that runs on the device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AscendFunction {
    /// Its name, which is also the name in the text.
    pub name: String,
    /// Which cores run it, and how it is called.
    pub form: AscendForm,
    /// Options with which the vendor's compiler takes the text.
    pub options: Vec<String>,
    /// The text, in the vendor's spelling.
    pub text: String,
    /// The compiled object, if the compiler was there.
    pub object: Option<Vec<u8>>,
}

/// Which cores run a function, and how it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AscendForm {
    /// Vector cores; arguments are the buffers. The vendor's compiler divides the work into blocks.
    Vector,
    /// The cube unit; arguments are the buffers and scalars, then the grid and the block's place in it.
    Cube,
    /// Both; arguments begin with a lock and a workspace.
    Mixed,
}

impl AscendSection {
    /// The section's bytes.
    ///
    /// # Errors
    /// Never for values that fit in memory.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        postcard::to_stdvec(self).map_err(|e| e.to_string())
    }

    /// Reads a section's bytes.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn decode(bytes: &[u8]) -> Result<AscendSection, String> {
        postcard::from_bytes(bytes).map_err(|e| format!("functions for Ascend: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_as_it_was_written() {
        let function = AscendFunction {
            name: "k0000".into(),
            form: AscendForm::Mixed,
            options: vec!["--target=Ascend910B1".into()],
            text: "func.func @k0000() { return }\n".into(),
            object: Some(vec![1, 2, 3]),
        };
        let section = AscendSection { functions: vec![function] };
        let bytes = section.encode().unwrap();
        assert_eq!(AscendSection::decode(&bytes), Ok(section));
        assert!(AscendSection::decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
