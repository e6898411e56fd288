//! A scan of a model file at the level of the protobuf wire format.
//!
//! The scan copies the model without its large payloads: a tensor's elements beyond [`INLINE_BYTES`] are replaced by
//! three private fields that say where in the file they are. What remains is small, and the protobuf crate parses it.
//! Fields that the importer never reads are left out. Memory follows what the file holds, never what it claims.

use crate::import::FileSource;
use ic_ir::Source;
use std::path::PathBuf;

/// Longest payload that stays in the message.
pub(crate) const INLINE_BYTES: u64 = 8 << 10;

/// Private field of `TensorProto`: number of the field that held the payload.
pub(crate) const PAYLOAD_FIELD: u32 = 100_001;
/// Private field of `TensorProto`: first byte of the payload in the model file.
pub(crate) const PAYLOAD_OFFSET: u32 = 100_002;
/// Private field of `TensorProto`: bytes of the payload.
pub(crate) const PAYLOAD_BYTES: u32 = 100_003;

/// Nesting of messages beyond which a file is refused. A graph within a graph takes three levels.
const MAX_DEPTH: usize = 90;

/// Bytes read from the file at once.
const WINDOW_BYTES: usize = 64 << 10;

/// Why a file is not a protobuf message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The bytes do not fit the format.
    #[error("`{path}` is not a valid ONNX model: at byte {offset}, expected {expected}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What would have fitted.
        expected: &'static str,
    },
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The messages that the scan looks into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
}

/// What to do with a length-delimited field.
enum Treatment {
    Copy,
    Drop,
    Scan(Message),
    Payload,
}

fn treatment(message: Message, field: u64) -> Treatment {
    use Treatment::{Copy, Drop, Payload, Scan};
    match (message, field) {
        (Message::Model, 7) => Scan(Message::Graph),
        (Message::Model, 25) => Scan(Message::Function),
        // Documentation, training information.
        (Message::Model, 6 | 20) => Drop,
        (Message::Graph, 1) => Scan(Message::Node),
        (Message::Graph, 5) => Scan(Message::Tensor),
        (Message::Graph, 15) => Scan(Message::SparseTensor),
        // Documentation, types of intermediate values, quantization annotations.
        (Message::Graph, 10 | 13 | 14) => Drop,
        (Message::Function, 7) => Scan(Message::Node),
        (Message::Function, 11) => Scan(Message::Attribute),
        (Message::Function, 8 | 12) => Drop,
        (Message::Node, 5) => Scan(Message::Attribute),
        (Message::Node, 6) => Drop,
        (Message::Attribute, 5 | 10) => Scan(Message::Tensor),
        (Message::Attribute, 6 | 11) => Scan(Message::Graph),
        (Message::Attribute, 22 | 23) => Scan(Message::SparseTensor),
        (Message::Attribute, 13) => Drop,
        (Message::SparseTensor, 1 | 2) => Scan(Message::Tensor),
        // Elements in their layout in memory: float_data, raw_data, double_data.
        (Message::Tensor, 4 | 9 | 10) => Payload,
        (Message::Tensor, 12) => Drop,
        _ => Copy,
    }
}

/// The `ModelProto` in `file`, encoded, without its large payloads.
///
/// # Errors
/// If the file is malformed or cannot be read.
pub(crate) fn scan(file: &FileSource) -> Result<Vec<u8>, WireError> {
    let mut reader = Reader { file, window: Vec::new(), start: 0 };
    let mut out = Vec::new();
    scan_message(&mut reader, Message::Model, 0..file.len(), 0, &mut out)?;
    Ok(out)
}

fn scan_message(
    reader: &mut Reader,
    message: Message,
    range: std::ops::Range<u64>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    if depth > MAX_DEPTH {
        return Err(reader.error(range.start, "less deep nesting"));
    }
    let (mut at, end) = (range.start, range.end);
    while at < end {
        let start = at;
        let tag = reader.varint(&mut at, end)?;
        let (field, wire_type) = (tag >> 3, tag & 7);
        if field == 0 || field > (1 << 29) - 1 {
            return Err(reader.error(start, "a field number"));
        }
        match wire_type {
            0 => {
                reader.varint(&mut at, end)?;
            }
            1 | 5 => {
                at += if wire_type == 1 { 8 } else { 4 };
                if at > end {
                    return Err(reader.error(start, "a number that ends within its message"));
                }
            }
            2 => {
                scan_delimited(reader, message, field, &mut at, end, (start, depth), out)?;
                continue;
            }
            _ => return Err(reader.error(start, "a wire type of 0, 1, 2 or 5")),
        }
        let is_private = u64::from(PAYLOAD_FIELD) <= field && field <= u64::from(PAYLOAD_BYTES);
        if !is_private {
            reader.copy(start, at, out)?;
        }
    }
    Ok(())
}

/// Scans the field whose tag began at `start`; `at` is behind the tag.
fn scan_delimited(
    reader: &mut Reader,
    message: Message,
    field: u64,
    at: &mut u64,
    end: u64,
    (start, depth): (u64, usize),
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let len = reader.varint(at, end)?;
    let body = *at;
    *at = body
        .checked_add(len)
        .filter(|&b| b <= end)
        .ok_or_else(|| reader.error(start, "a field that ends within its message"))?;
    match treatment(message, field) {
        Treatment::Drop => {}
        Treatment::Payload if len > INLINE_BYTES => {
            for (field, value) in [(PAYLOAD_FIELD, field), (PAYLOAD_OFFSET, body), (PAYLOAD_BYTES, len)] {
                put_varint(u64::from(field) << 3, out);
                put_varint(value, out);
            }
        }
        Treatment::Copy | Treatment::Payload => reader.copy(start, *at, out)?,
        Treatment::Scan(inner) => {
            let mut nested = Vec::new();
            scan_message(reader, inner, body..*at, depth + 1, &mut nested)?;
            put_varint(field << 3 | 2, out);
            put_varint(nested.len() as u64, out);
            out.extend_from_slice(&nested);
        }
    }
    Ok(())
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A window on the file.
struct Reader<'a> {
    file: &'a FileSource,
    window: Vec<u8>,
    start: u64,
}

impl Reader<'_> {
    fn error(&self, offset: u64, expected: &'static str) -> WireError {
        WireError::Malformed { path: self.file.path().to_path_buf(), offset, expected }
    }

    /// Makes the window hold the byte at `offset`, which must be within the file.
    fn load(&mut self, offset: u64) -> Result<(), WireError> {
        let held = self.start..self.start + self.window.len() as u64;
        if !held.contains(&offset) {
            let len = (self.file.len() - offset).min(WINDOW_BYTES as u64) as usize;
            self.window.resize(len, 0);
            self.start = offset;
            self.file.read_into(offset, &mut self.window)?;
        }
        Ok(())
    }

    fn varint(&mut self, at: &mut u64, end: u64) -> Result<u64, WireError> {
        let start = *at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            if *at >= end {
                return Err(self.error(start, "a number that ends within its message"));
            }
            self.load(*at)?;
            let byte = self.window[(*at - self.start) as usize];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(start, "a number of at most 10 bytes"))
    }

    fn copy(&mut self, start: u64, end: u64, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut at = start;
        while at < end {
            self.load(at)?;
            let from = (at - self.start) as usize;
            let take = ((end - at) as usize).min(self.window.len() - from);
            out.extend_from_slice(&self.window[from..from + take]);
            at += take as u64;
        }
        Ok(())
    }
}
