//! A CPU code section: a table of function offsets, then machine code without relocations.
//!
//! Layout: `u32` number of functions, `u32` start of the code in the section (a multiple of 64), one `u32` offset per
//! function from the start of the code, zeros, code. Functions of the plans come in order: those of the first entry's
//! [`Plan::functions`](crate::Plan::functions), then those of the second, and so on.

use crate::format::u32_at;

/// Code to be written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CodeSection {
    /// Where each function starts in `code`. Several entries may share a function.
    pub offsets: Vec<u32>,
    /// The machine code.
    pub code: Vec<u8>,
}

/// Code as it lies in the file, checked: every offset is inside `code`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodeView<'a> {
    /// Where each function starts in `code`.
    pub offsets: Vec<u32>,
    /// The machine code.
    pub code: &'a [u8],
}

const PREFIX_BYTES: usize = 8;
const CODE_ALIGNMENT: usize = 64;

impl CodeSection {
    /// The section's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let start = (PREFIX_BYTES + 4 * self.offsets.len()).next_multiple_of(CODE_ALIGNMENT);
        let mut bytes = Vec::with_capacity(start + self.code.len());
        bytes.extend_from_slice(&(self.offsets.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(start as u32).to_le_bytes());
        for offset in &self.offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.resize(start, 0);
        bytes.extend_from_slice(&self.code);
        bytes
    }
}

impl<'a> CodeView<'a> {
    /// Reads a section's bytes.
    ///
    /// # Errors
    /// If the table or an offset leaves the section; says which.
    pub fn decode(bytes: &'a [u8]) -> Result<CodeView<'a>, String> {
        if bytes.len() < PREFIX_BYTES {
            return Err(format!("{} bytes have no room for the function table", bytes.len()));
        }
        let (n_functions, start) = (u32_at(bytes, 0) as usize, u32_at(bytes, 4) as usize);
        let table = bytes.get(PREFIX_BYTES..start).filter(|table| table.len() / 4 >= n_functions);
        let (Some(table), Some(code)) = (table, bytes.get(start..)) else {
            return Err(format!("the table of {n_functions} functions leaves the section"));
        };
        let offsets: Vec<u32> = table.chunks_exact(4).take(n_functions).map(|entry| u32_at(entry, 0)).collect();
        match offsets.iter().find(|&&offset| offset as usize >= code.len()) {
            Some(offset) => Err(format!("function offset {offset} is outside {} bytes of code", code.len())),
            None => Ok(CodeView { offsets, code }),
        }
    }
}
