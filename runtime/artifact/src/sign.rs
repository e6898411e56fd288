//! Ed25519 signatures of artifacts (RFC 8032), in a section of their own.
//!
//! What is signed is the header page that the artifact has without its signature. That page holds the hash of every
//! section, so the signature covers whatever is checked against those hashes: manifest, plans, code, and weights once
//! [`ArtifactReader::verify_weights`] has read them. Signing changes no section and no offset.

use crate::format::{HEADER_BYTES, Section, SectionKind, decode_page, encode_header};
use crate::{ArtifactError, ArtifactReader, TemporaryFile};
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Keeps these signatures apart from others made with the same key.
const CONTEXT: &[u8] = b"ic artifact signature 1\0";

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// What a signature is checked with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key in a PEM text, as `openssl pkey -pubout` writes it (RFC 8410).
    ///
    /// # Errors
    /// If the text is not an Ed25519 public key.
    pub fn from_pem(text: &str) -> Result<PublicKey, ArtifactError> {
        let key = VerifyingKey::from_public_key_pem(text.trim());
        key.map(PublicKey).map_err(|e| ArtifactError::Key(format!("not an Ed25519 public key in PEM: {e}")))
    }

    /// The key in 32 bytes.
    ///
    /// # Errors
    /// If the bytes are not a point of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, ArtifactError> {
        let key = VerifyingKey::from_bytes(bytes);
        key.map(PublicKey).map_err(|e| ArtifactError::Key(format!("not an Ed25519 public key: {e}")))
    }

    /// The key in 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

/// What a signature is made with. Its memory is cleared when it is dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key in a PEM text, as `openssl genpkey -algorithm ed25519` writes it (RFC 8410).
    ///
    /// # Errors
    /// If the text is not an Ed25519 private key.
    pub fn from_pem(text: &str) -> Result<SecretKey, ArtifactError> {
        let key = SigningKey::from_pkcs8_pem(text.trim());
        key.map(SecretKey).map_err(|e| ArtifactError::Key(format!("not an Ed25519 private key in PEM: {e}")))
    }

    /// The key of a 32-byte seed.
    pub fn from_bytes(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// What signatures made with it are checked with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

/// Writes the artifact in the file `input` with a signature to `output`, which may be the same file. A signature that it
/// has is replaced.
///
/// # Errors
/// If `input` is not an artifact, or a file cannot be read or written.
pub fn sign(input: &Path, output: &Path, key: &SecretKey) -> Result<(), ArtifactError> {
    let failed = |source| ArtifactError::File { action: "read", path: input.to_owned(), source };
    let mut file = File::open(input).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut page = Vec::with_capacity(HEADER_BYTES);
    (&mut file).take(HEADER_BYTES as u64).read_to_end(&mut page).map_err(failed)?;
    let mut sections = decode_page(&page, length)?;
    sections.retain(|section| section.kind != SectionKind::Signature);
    let end = unsigned_end(&sections);
    let signature = key.0.sign(&message(&sections)).to_bytes();
    let offset = end.next_multiple_of(SectionKind::Signature.alignment());
    let hash = *blake3::hash(&signature).as_bytes();
    sections.push(Section { kind: SectionKind::Signature, offset, length: SIGNATURE_BYTES as u64, hash });
    if sections.len() > crate::format::MAX_SECTIONS {
        return Err(ArtifactError::Invalid("there is no room for a signature among the sections".into()));
    }
    let header = encode_header(&sections, offset + SIGNATURE_BYTES as u64);
    let mut signed = TemporaryFile::create(output)?;
    signed.write_all(&header[..])?;
    file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(failed)?;
    let body = end.saturating_sub(HEADER_BYTES as u64);
    if io::copy(&mut file.take(body), &mut signed)? != body {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    io::copy(&mut io::repeat(0).take(offset - end), &mut signed)?;
    signed.write_all(&signature)?;
    signed.persist()
}

impl ArtifactReader<'_> {
    /// Checks that the artifact was signed with the key to which `key` belongs. Weights are not read: see
    /// [`verify_weights`](Self::verify_weights).
    ///
    /// # Errors
    /// If it is not signed, or not with that key.
    pub fn verify_signature(&self, key: &PublicKey) -> Result<(), ArtifactError> {
        let Some((last, others)) = self.sections().split_last().filter(|(s, _)| s.kind == SectionKind::Signature)
        else {
            return Err(ArtifactError::Signature("it is not signed"));
        };
        let bytes = self.section_bytes(last).first_chunk::<SIGNATURE_BYTES>();
        let bytes = bytes.filter(|_| last.length == SIGNATURE_BYTES as u64);
        let signature = bytes.ok_or_else(|| ArtifactError::damaged("signature", "it does not have 64 bytes"))?;
        // Strict: no weak keys, one encoding of each signature.
        let verified = key.0.verify_strict(&message(others), &Signature::from_bytes(signature));
        verified
            .map_err(|_| ArtifactError::Signature("its signature was not made with the key that belongs to this one"))
    }
}

/// Where an artifact of these sections ends.
fn unsigned_end(sections: &[Section]) -> u64 {
    sections.last().map_or(HEADER_BYTES as u64, Section::end)
}

/// What is signed for an artifact whose other sections are these.
fn message(sections: &[Section]) -> Vec<u8> {
    let page = encode_header(sections, unsigned_end(sections));
    [CONTEXT, &page[..]].concat()
}
