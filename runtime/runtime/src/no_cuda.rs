//! Stands in for `cuda` in a build without that feature: its types have no values.

use crate::bind::Binding;
use crate::context::Context;
use crate::device::Engine;
use crate::memory::Memory;
use crate::program::Program;
use crate::{Error, Outputs, Profile};
use ic_artifact::{Plan, Target};
use std::sync::Arc;

/// No GPU.
#[derive(Debug)]
pub(crate) enum Device {}

/// No model on a GPU.
#[derive(Debug)]
pub(crate) enum Gpu {}

/// No kernel of a GPU.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {}

/// No state on a GPU.
#[derive(Debug)]
pub(crate) enum StateMemory {}

/// No run on a GPU.
#[derive(Debug)]
pub(crate) enum Run {}

impl Device {
    pub(crate) fn open(name: &str, _engine: Engine, _number: u32) -> Result<Arc<Device>, Error> {
        Err(Error::Option(format!("device {name} is not built in")))
    }

    pub(crate) fn obstacle(&self, _target: &Target) -> Option<String> {
        match *self {}
    }
}

/// How new the architecture of `target` is.
pub(crate) fn rank(_target: &Target) -> u32 {
    0
}

impl Gpu {
    pub(crate) fn load(
        device: Arc<Device>,
        _code: &[u8],
        _plans: &[Plan],
        _weights: &[u8],
        _origin: &str,
    ) -> Result<Gpu, Error> {
        match *device {}
    }

    pub(crate) fn name(&self) -> &str {
        match *self {}
    }

    pub(crate) fn functions(&self, _plan: &Plan) -> Result<Vec<Function>, Error> {
        match *self {}
    }
}

impl StateMemory {
    pub(crate) fn new(gpu: &Gpu, _bytes: usize, _next_bytes: usize, _what: &str) -> Result<StateMemory, Error> {
        match *gpu {}
    }

    pub(crate) fn addresses(&self) -> [u64; 2] {
        match *self {}
    }

    pub(crate) fn read(&self) -> Result<Memory, Error> {
        match *self {}
    }

    pub(crate) fn write(&self, _contents: &[u8]) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn clear(&self) {
        match *self {}
    }

    pub(crate) fn duplicate(&self, _what: &str) -> Result<StateMemory, Error> {
        match *self {}
    }
}

impl Run {
    pub(crate) fn bytes(&self) -> usize {
        match *self {}
    }
}

pub(crate) fn run(
    gpu: &Gpu,
    _program: &Program,
    _segment: usize,
    _binding: &Arc<Binding>,
    _context: &mut Context,
    _outputs: &mut Outputs,
    _profile: Option<&mut Profile>,
) -> Result<(), Error> {
    match *gpu {}
}

pub(crate) fn read_value(gpu: &Gpu, _context: &mut Context, _buffer: u32, _offset: usize) -> Result<i64, Error> {
    match *gpu {}
}
