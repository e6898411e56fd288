//! Reads an artifact from bytes, usually a mapped file.
//!
//! Opening checks the header and the manifest. Plans and code are checked when they are asked for, weights by
//! [`ArtifactReader::verify_weights`], so that opening does not touch what is not used.

use crate::format::{Section, SectionKind, decode_page, identity_of};
use crate::{ArtifactError, CodeView, Manifest, Plan, PlanContext};
use ic_types::DType;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::ops::Range;

/// Largest manifest that is read.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// Largest plan section that is read.
pub const MAX_PLAN_BYTES: u64 = 256 << 20;

/// An artifact whose header and manifest have been checked.
#[derive(Clone, Debug)]
pub struct ArtifactReader<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
    manifest: Manifest,
}

impl<'a> ArtifactReader<'a> {
    /// Checks the header and the manifest of `bytes`, a whole artifact.
    ///
    /// # Errors
    /// If it is not an artifact, of another version, truncated or damaged; names the section.
    pub fn open(bytes: &'a [u8]) -> Result<ArtifactReader<'a>, ArtifactError> {
        let sections = decode_page(bytes, bytes.len() as u64)?;
        let of_kind = |kind| sections.iter().enumerate().filter(move |(_, s): &(usize, &Section)| s.kind == kind);
        let mut manifests = of_kind(SectionKind::Manifest);
        let (Some((at, _)), None) = (manifests.next(), manifests.next()) else {
            return Err(ArtifactError::damaged("header", "there is not exactly one manifest section"));
        };
        if of_kind(SectionKind::Weights).count() > 1 {
            return Err(ArtifactError::damaged("header", "there is more than one weight section"));
        }
        if of_kind(SectionKind::Signature).any(|(at, _)| at + 1 != sections.len()) {
            return Err(ArtifactError::damaged("header", "the signature is not the last section"));
        }
        let mut reader = ArtifactReader { bytes, sections, manifest: Manifest::default() };
        reader.manifest = reader.decode(at as u32, MAX_MANIFEST_BYTES)?;
        reader.check_manifest().map_err(|problem| ArtifactError::damaged("manifest", problem))?;
        Ok(reader)
    }

    /// The hash of the header, which covers the hashes of all sections: artifacts of one identity are equal.
    pub fn identity(&self) -> [u8; 32] {
        identity_of(self.bytes).unwrap_or_default()
    }

    /// What the artifact holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The section table.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The checked plans of `target`, an index into the manifest's targets: one per entry.
    ///
    /// # Errors
    /// If the section is damaged, or a plan refers to something that is not there.
    ///
    /// # Panics
    /// If there is no such target.
    pub fn plans(&self, target: usize) -> Result<Vec<Plan>, ArtifactError> {
        let index = self.manifest.targets[target].plan_section;
        let plans: Vec<Plan> = self.decode(index, MAX_PLAN_BYTES)?;
        if plans.len() != self.manifest.entries.len() {
            let problem = format!("{} plans for {} entries", plans.len(), self.manifest.entries.len());
            return Err(ArtifactError::damaged(self.name(index), problem));
        }
        let weight_bytes = self.weights().len() as u64;
        for (plan, entry) in plans.iter().zip(&self.manifest.entries) {
            let context = PlanContext { entry, states: &self.manifest.states, weight_bytes };
            plan.check(&context).map_err(|problem| ArtifactError::Plan { entry: entry.name.clone(), problem })?;
        }
        Ok(plans)
    }

    /// The checked code of `target`, a CPU target, by index into the manifest's targets.
    ///
    /// # Errors
    /// If the section is damaged.
    ///
    /// # Panics
    /// If there is no such target.
    pub fn code(&self, target: usize) -> Result<CodeView<'a>, ArtifactError> {
        let index = self.manifest.targets[target].code_section;
        let bytes = self.verified(index)?;
        CodeView::decode(bytes).map_err(|problem| ArtifactError::damaged(self.name(index), problem))
    }

    /// The checked code of `target`, a device target, by index into the manifest's targets.
    ///
    /// # Errors
    /// If the section is damaged.
    ///
    /// # Panics
    /// If there is no such target.
    pub fn device_code(&self, target: usize) -> Result<&'a [u8], ArtifactError> {
        self.verified(self.manifest.targets[target].code_section)
    }

    /// Where the weights are in the file; empty if there are none. Their hash is not checked.
    pub fn weight_range(&self) -> Range<usize> {
        match self.sections.iter().find(|s| s.kind == SectionKind::Weights) {
            Some(section) => section.offset as usize..section.end() as usize,
            None => 0..0,
        }
    }

    /// The weights, whose hash is not checked.
    pub fn weights(&self) -> &'a [u8] {
        &self.bytes[self.weight_range()]
    }

    /// Reads all weights and checks their hash.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn verify_weights(&self) -> Result<(), ArtifactError> {
        match self.sections.iter().position(|s| s.kind == SectionKind::Weights) {
            Some(index) => self.verified(index as u32).map(drop),
            None => Ok(()),
        }
    }

    /// The bytes of a section after its hash was checked.
    fn verified(&self, index: u32) -> Result<&'a [u8], ArtifactError> {
        let section = &self.sections[index as usize];
        let bytes = self.section_bytes(section);
        if *blake3::hash(bytes).as_bytes() != section.hash {
            return Err(ArtifactError::damaged(self.name(index), "its hash does not match"));
        }
        Ok(bytes)
    }

    /// The bytes of a section, whose hash is not checked.
    pub(crate) fn section_bytes(&self, section: &Section) -> &'a [u8] {
        &self.bytes[section.offset as usize..section.end() as usize]
    }

    fn decode<T: DeserializeOwned>(&self, index: u32, max_bytes: u64) -> Result<T, ArtifactError> {
        let length = self.sections[index as usize].length;
        if length > max_bytes {
            let problem = format!("it has {length} bytes, at most {max_bytes} are read");
            return Err(ArtifactError::damaged(self.name(index), problem));
        }
        // Serde allocates at most 1 MiB ahead of the elements it has read, whatever length the bytes state.
        match postcard::take_from_bytes(self.verified(index)?) {
            Ok((value, [])) => Ok(value),
            Ok((_, tail)) => {
                Err(ArtifactError::damaged(self.name(index), format!("{} bytes after its end", tail.len())))
            }
            Err(error) => Err(ArtifactError::damaged(self.name(index), error.to_string())),
        }
    }

    /// The name of a section in messages: its kind, and for plans and code the targets that use it.
    fn name(&self, index: u32) -> String {
        let kind = self.sections[index as usize].kind;
        let users = self.manifest.targets.iter().filter(|t| match kind {
            SectionKind::Plans => t.plan_section == index,
            SectionKind::Code => t.code_section == index,
            SectionKind::Manifest | SectionKind::Weights | SectionKind::Signature => false,
        });
        let users: Vec<&str> = users.map(|t| t.name.as_str()).collect();
        if users.is_empty() { kind.name().into() } else { format!("{} of {}", kind.name(), users.join(", ")) }
    }

    fn check_manifest(&self) -> Result<(), String> {
        let manifest = &self.manifest;
        for target in &manifest.targets {
            for (index, kind) in [(target.plan_section, SectionKind::Plans), (target.code_section, SectionKind::Code)] {
                if self.sections.get(index as usize).is_none_or(|s| s.kind != kind) {
                    let (target, kind) = (&target.name, kind.name());
                    return Err(format!("target `{target}` names section {index} as its {kind}, which it is not"));
                }
            }
        }
        let mut names = BTreeSet::new();
        for entry in &manifest.entries {
            if !names.insert(&entry.name) {
                return Err(format!("entry `{}` is there twice", entry.name));
            }
            let ports = entry.inputs.iter().chain(&entry.outputs);
            if let Some(port) = ports.into_iter().find(|p| DType::from_code(p.dtype).is_none()) {
                return Err(format!("`{}` has unknown element type {}", port.name, port.dtype));
            }
        }
        for state in &manifest.states {
            if DType::from_code(state.dtype).is_none() {
                return Err(format!("state `{}` has unknown element type {}", state.name, state.dtype));
            }
            if state.capacity.iter().any(|&extent| extent < 0) {
                return Err(format!("state `{}` has a negative capacity", state.name));
            }
        }
        Ok(())
    }
}
