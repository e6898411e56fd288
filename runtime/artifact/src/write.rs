//! Writes an artifact section by section, in one pass, with weights streamed.
//!
//! Invariant: the same calls give the same bytes.

use crate::format::{HEADER_BYTES, MAX_SECTIONS, Section, SectionKind, encode_header};
use crate::{ArtifactError, CodeSection, Manifest, Plan, TemporaryFile};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Writes an artifact. Sections may come in any order; the manifest names them by the indices that the writer returns.
///
/// Into a file, nothing appears under the file's name before [`finish`](Self::finish) has succeeded.
#[derive(Debug)]
pub struct ArtifactWriter<W: Write + Seek = TemporaryFile> {
    sink: W,
    sections: Vec<Section>,
    /// Bytes written so far.
    position: u64,
    /// Whether a [`WeightsWriter`] was dropped before it was finished.
    incomplete: bool,
}

impl ArtifactWriter {
    /// A writer of the file `path`.
    ///
    /// # Errors
    /// If no file can be created beside `path`.
    pub fn create(path: &Path) -> Result<ArtifactWriter, ArtifactError> {
        ArtifactWriter::new(TemporaryFile::create(path)?)
    }

    /// Completes the file and gives it its name. Returns its length in bytes.
    ///
    /// # Errors
    /// If the artifact is incomplete or the file cannot be written.
    pub fn finish(self) -> Result<u64, ArtifactError> {
        let length = self.position;
        self.finish_into()?.persist()?;
        Ok(length)
    }
}

impl<W: Write + Seek> ArtifactWriter<W> {
    /// A writer into `sink`, which must be empty.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn new(mut sink: W) -> Result<ArtifactWriter<W>, ArtifactError> {
        sink.write_all(&[0; HEADER_BYTES])?;
        Ok(ArtifactWriter { sink, sections: Vec::new(), position: HEADER_BYTES as u64, incomplete: false })
    }

    /// Adds the plans of one class of targets: one per entry, in the manifest's order. Returns the section's index.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn plans(&mut self, plans: &[Plan]) -> Result<u32, ArtifactError> {
        let bytes = postcard::to_stdvec(plans).map_err(|e| ArtifactError::Invalid(format!("plans: {e}")))?;
        self.section(SectionKind::Plans, &bytes)
    }

    /// Adds the code of a CPU target. Returns the section's index.
    ///
    /// # Errors
    /// If the code is larger than 2 GiB or the sink fails.
    pub fn code(&mut self, code: &CodeSection) -> Result<u32, ArtifactError> {
        if code.code.len() > i32::MAX as usize {
            return Err(ArtifactError::Invalid(format!("{} bytes of code for one target", code.code.len())));
        }
        self.section(SectionKind::Code, &code.encode())
    }

    /// Adds the code of a device target, in the form that its driver takes. Returns the section's index.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn device_code(&mut self, code: &[u8]) -> Result<u32, ArtifactError> {
        self.section(SectionKind::Code, code)
    }

    /// Adds the manifest. Its section indices come from the calls before.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn manifest(&mut self, manifest: &Manifest) -> Result<u32, ArtifactError> {
        let bytes = postcard::to_stdvec(manifest).map_err(|e| ArtifactError::Invalid(format!("manifest: {e}")))?;
        self.section(SectionKind::Manifest, &bytes)
    }

    /// Starts the weights, of which there is one section. Bytes go straight to the sink.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn weights(&mut self) -> Result<WeightsWriter<'_, W>, ArtifactError> {
        let start = self.begin(SectionKind::Weights)?;
        self.incomplete = true;
        Ok(WeightsWriter { writer: self, start, hasher: blake3::Hasher::new() })
    }

    /// Writes the header and returns the sink, which then holds a whole artifact.
    ///
    /// # Errors
    /// If there is not exactly one manifest and at most one weight section, or the sink fails.
    pub fn finish_into(mut self) -> Result<W, ArtifactError> {
        let count = |kind| self.sections.iter().filter(|s| s.kind == kind).count();
        if self.incomplete {
            return Err(ArtifactError::Invalid("the weights were not finished".into()));
        }
        if count(SectionKind::Manifest) != 1 || count(SectionKind::Weights) > 1 {
            return Err(ArtifactError::Invalid("it needs one manifest and at most one weight section".into()));
        }
        let header = encode_header(&self.sections, self.position);
        self.sink.seek(SeekFrom::Start(0))?;
        self.sink.write_all(&header[..])?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn section(&mut self, kind: SectionKind, bytes: &[u8]) -> Result<u32, ArtifactError> {
        let offset = self.begin(kind)?;
        self.sink.write_all(bytes)?;
        self.position += bytes.len() as u64;
        self.end(kind, offset, *blake3::hash(bytes).as_bytes())
    }

    /// Pads to the alignment of `kind`; the position of the new section.
    fn begin(&mut self, kind: SectionKind) -> Result<u64, ArtifactError> {
        if self.sections.len() == MAX_SECTIONS {
            return Err(ArtifactError::Invalid(format!("more than {MAX_SECTIONS} sections")));
        }
        let start = self.position.next_multiple_of(kind.alignment());
        io::copy(&mut io::Read::take(io::repeat(0), start - self.position), &mut self.sink)?;
        self.position = start;
        Ok(start)
    }

    fn end(&mut self, kind: SectionKind, offset: u64, hash: [u8; 32]) -> Result<u32, ArtifactError> {
        let index = self.sections.len() as u32;
        self.sections.push(Section { kind, offset, length: self.position - offset, hash });
        Ok(index)
    }
}

/// Streams the weight section.
#[derive(Debug)]
pub struct WeightsWriter<'a, W: Write + Seek> {
    writer: &'a mut ArtifactWriter<W>,
    start: u64,
    hasher: blake3::Hasher,
}

impl<W: Write + Seek> WeightsWriter<'_, W> {
    /// Bytes in the section so far: the offset of what is written next.
    pub fn position(&self) -> u64 {
        self.writer.position - self.start
    }

    /// Writes zeros up to a multiple of `alignment`, and returns the position.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn align(&mut self, alignment: u64) -> io::Result<u64> {
        let padding = self.position().next_multiple_of(alignment) - self.position();
        io::copy(&mut io::Read::take(io::repeat(0), padding), self)?;
        Ok(self.position())
    }

    /// Ends the section. Returns its length in bytes.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn finish(self) -> Result<u64, ArtifactError> {
        let hash = *self.hasher.finalize().as_bytes();
        self.writer.end(SectionKind::Weights, self.start, hash)?;
        self.writer.incomplete = false;
        Ok(self.writer.position - self.start)
    }
}

impl<W: Write + Seek> Write for WeightsWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.writer.sink.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.writer.position += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.sink.flush()
    }
}
