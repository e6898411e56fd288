//! The header page: magic, version, file length and the section table, under one hash. All numbers are little-endian.
//!
//! Invariant: sections appear in the table in the order of their offsets, and do not overlap.

use crate::ArtifactError;
use std::io;

/// Version of the format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 7;

/// First bytes of every artifact. The control characters show a transfer that mangled line ends or cut high bits.
pub(crate) const MAGIC: [u8; 8] = *b"\x89ica\r\n\x1a\n";

/// Bytes of the header and section table together.
pub(crate) const HEADER_BYTES: usize = 4096;

/// Entries that the header page has room for.
pub(crate) const MAX_SECTIONS: usize = HEADER_BYTES / ENTRY_BYTES - 1;

const ENTRY_BYTES: usize = 64;
const HASH_AT: usize = 32;
const TABLE_AT: usize = 64;

/// What a section holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum SectionKind {
    /// The [`Manifest`](crate::Manifest) in postcard.
    Manifest = 1,
    /// One [`Plan`](crate::Plan) per entry, in postcard.
    Plans = 2,
    /// Code of one target: a [`CodeSection`](crate::CodeSection) or what a device driver takes.
    Code = 3,
    /// Packed weights of all entries.
    Weights = 4,
    /// An Ed25519 signature over the header that the artifact has without this section, which is the last.
    Signature = 5,
}

impl SectionKind {
    /// Every kind.
    pub const ALL: &[SectionKind] =
        &[SectionKind::Manifest, SectionKind::Plans, SectionKind::Code, SectionKind::Weights, SectionKind::Signature];

    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            SectionKind::Manifest => "manifest",
            SectionKind::Plans => "plans",
            SectionKind::Code => "code",
            SectionKind::Weights => "weights",
            SectionKind::Signature => "signature",
        }
    }

    /// Alignment of the section's start in the file, in bytes. Code can be mapped on every page size in use.
    pub fn alignment(self) -> u64 {
        match self {
            SectionKind::Manifest | SectionKind::Plans | SectionKind::Signature => 64,
            SectionKind::Code => 64 << 10,
            SectionKind::Weights => 4 << 10,
        }
    }

    fn from_code(code: u32) -> Option<SectionKind> {
        SectionKind::ALL.iter().copied().find(|&kind| kind as u32 == code)
    }
}

/// One entry of the section table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Position in the file in bytes.
    pub offset: u64,
    /// Length in bytes, padding after it not included.
    pub length: u64,
    /// BLAKE3 hash of its bytes.
    pub hash: [u8; 32],
}

impl Section {
    /// Past its last byte.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// The header page for `sections` in a file of `file_length` bytes.
pub(crate) fn encode_header(sections: &[Section], file_length: u64) -> Box<[u8; HEADER_BYTES]> {
    assert!(sections.len() <= MAX_SECTIONS, "the writer limits the number of sections");
    let mut page = Box::new([0u8; HEADER_BYTES]);
    page[..8].copy_from_slice(&MAGIC);
    page[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    page[12..16].copy_from_slice(&(sections.len() as u32).to_le_bytes());
    page[16..24].copy_from_slice(&file_length.to_le_bytes());
    for (section, entry) in sections.iter().zip(page[TABLE_AT..].chunks_exact_mut(ENTRY_BYTES)) {
        entry[..4].copy_from_slice(&(section.kind as u32).to_le_bytes());
        entry[8..16].copy_from_slice(&section.offset.to_le_bytes());
        entry[16..24].copy_from_slice(&section.length.to_le_bytes());
        entry[32..].copy_from_slice(&section.hash);
    }
    let hash = page_hash(&page[..]);
    page[HASH_AT..TABLE_AT].copy_from_slice(&hash);
    page
}

/// The identity of the artifact in `file`: the hash of its header, which covers the hashes of all sections.
///
/// # Errors
/// If it cannot be read, or does not start as an artifact does.
pub fn read_identity(mut file: impl io::Read) -> Result<[u8; 32], ArtifactError> {
    let mut start = [0; TABLE_AT];
    file.read_exact(&mut start).map_err(|_| ArtifactError::Magic)?;
    identity_of(&start).ok_or(ArtifactError::Magic)
}

/// The identity of the artifact that starts with `bytes`, which is not checked.
pub(crate) fn identity_of(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.get(HASH_AT..TABLE_AT).filter(|_| bytes.starts_with(&MAGIC))?.try_into().ok()
}

/// The section table of a file of `file_length` bytes that starts with `start`, with every offset and length inside it.
pub(crate) fn decode_page(start: &[u8], file_length: u64) -> Result<Vec<Section>, ArtifactError> {
    if !start.starts_with(&MAGIC) {
        return Err(ArtifactError::Magic);
    }
    let Some(page) = start.get(..HEADER_BYTES) else {
        return Err(ArtifactError::damaged("header", format!("the file ends after {} bytes", start.len())));
    };
    // The version comes first: another version may hash differently.
    let version = u32_at(page, 8);
    if version != FORMAT_VERSION {
        return Err(ArtifactError::Version { found: version, supported: FORMAT_VERSION });
    }
    if page[HASH_AT..TABLE_AT] != page_hash(page) {
        return Err(ArtifactError::damaged("header", "its hash does not match"));
    }
    let stated = u64_at(page, 16);
    if stated != file_length {
        return Err(ArtifactError::Length { stated, found: file_length });
    }
    let n_sections = u32_at(page, 12) as usize;
    if n_sections > MAX_SECTIONS {
        return Err(ArtifactError::damaged("header", format!("{n_sections} sections, at most {MAX_SECTIONS} fit")));
    }
    let mut sections = Vec::with_capacity(n_sections);
    let mut end = HEADER_BYTES as u64;
    for (index, entry) in page[TABLE_AT..].chunks_exact(ENTRY_BYTES).take(n_sections).enumerate() {
        let section = decode_entry(entry, end, stated)
            .map_err(|problem| ArtifactError::damaged("header", format!("section {index} {problem}")))?;
        end = section.end();
        sections.push(section);
    }
    Ok(sections)
}

/// One entry; it must lie between `begin`, where the one before it ends, and `file_length`.
fn decode_entry(entry: &[u8], begin: u64, file_length: u64) -> Result<Section, String> {
    let kind = u32_at(entry, 0);
    let kind = SectionKind::from_code(kind).ok_or_else(|| format!("is of unknown kind {kind}"))?;
    let (offset, length) = (u64_at(entry, 8), u64_at(entry, 16));
    let end = offset.checked_add(length).filter(|&end| offset >= begin && end <= file_length);
    if end.is_none() {
        return Err(format!(
            "at {offset} of {length} bytes overlaps another or leaves the file of {file_length} bytes"
        ));
    }
    if offset % kind.alignment() != 0 {
        return Err(format!("at {offset} is not aligned to {}", kind.alignment()));
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(&entry[32..64]);
    Ok(Section { kind, offset, length, hash })
}

/// Hash of the page without its hash field.
fn page_hash(page: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&page[..HASH_AT]);
    hasher.update(&page[TABLE_AT..]);
    *hasher.finalize().as_bytes()
}

/// The little-endian number at `at`, which the caller knows to be inside.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
