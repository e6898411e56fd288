//! The state of the process's driver.

use crate::api::{Handle, INVALID_HANDLE, NOT_INITIALIZED, Status};
use crate::stream::Stream;
use ic_ptx_emulator::{Counts, Memory, Module};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A kernel: its module and its number there.
#[derive(Clone)]
pub(crate) struct Kernel {
    pub(crate) module: Arc<Module>,
    pub(crate) index: usize,
}

/// Objects that handles name, by number.
pub(crate) struct Table<T>(Vec<Option<T>>);

impl<T> Table<T> {
    const fn new() -> Table<T> {
        Table(Vec::new())
    }

    /// The handle of a new object.
    pub(crate) fn add(&mut self, object: T) -> Handle {
        self.0.push(Some(object));
        std::ptr::without_provenance_mut(self.0.len())
    }

    pub(crate) fn get(&mut self, handle: Handle) -> Result<&mut T, Status> {
        let index = handle.addr().checked_sub(1).ok_or(INVALID_HANDLE)?;
        self.0.get_mut(index).and_then(Option::as_mut).ok_or(INVALID_HANDLE)
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Result<T, Status> {
        let index = handle.addr().checked_sub(1).ok_or(INVALID_HANDLE)?;
        self.0.get_mut(index).and_then(Option::take).ok_or(INVALID_HANDLE)
    }
}

/// Everything that calls share.
pub(crate) struct Driver {
    pub(crate) is_initialized: bool,
    pub(crate) memory: Memory,
    pub(crate) modules: Table<Arc<Module>>,
    pub(crate) kernels: Table<Kernel>,
    /// Streams other than the default one.
    pub(crate) streams: Table<Stream>,
    pub(crate) events: Table<Option<Instant>>,
    pub(crate) graphs: Table<Vec<crate::launch::Work>>,
    /// The result of the first fault, which all later calls have too.
    pub(crate) failed: Option<Status>,
    /// What the last fault was, or why a module was not taken.
    pub(crate) message: String,
    /// What all launches did.
    pub(crate) counts: Counts,
}

static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Driver>> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a call on the driver, once it is initialized and has not failed.
pub(crate) fn with(call: impl FnOnce(&mut Driver) -> Result<(), Status>) -> Status {
    let mut driver = lock();
    let Some(driver) = driver.as_mut().filter(|driver| driver.is_initialized) else { return NOT_INITIALIZED };
    if let Some(status) = driver.failed {
        return status;
    }
    call(driver).err().unwrap_or(crate::api::SUCCESS)
}

/// The status as a result.
pub(crate) fn check(status: Status) -> Result<(), Status> {
    if status == crate::api::SUCCESS { Ok(()) } else { Err(status) }
}

/// Makes the driver ready; again has no effect.
pub(crate) fn initialize() {
    lock().get_or_insert_with(|| Driver {
        is_initialized: true,
        memory: Memory::new(),
        modules: Table::new(),
        kernels: Table::new(),
        streams: Table::new(),
        events: Table::new(),
        graphs: Table::new(),
        failed: None,
        message: String::new(),
        counts: Counts::default(),
    });
}

/// What the last fault was, or why a module was not taken.
pub fn last_message() -> String {
    lock().as_ref().map_or(String::new(), |driver| driver.message.clone())
}

/// What all launches of this process did.
pub fn counts() -> Counts {
    lock().as_ref().map_or(Counts::default(), |driver| driver.counts.clone())
}

/// Forgets a fault, so that calls work again. A device cannot.
pub fn clear_fault() {
    if let Some(driver) = lock().as_mut() {
        driver.failed = None;
    }
}
