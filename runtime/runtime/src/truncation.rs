//! Turns a mapped file that was cut short while in use into a message and exit code 1.
//!
//! Reading a page past the end of a mapped file raises SIGBUS. The handler looks the address up among the mappings that
//! were announced; for one of them it prints the message and exits, otherwise the signal takes its usual course. The
//! handler only loads atomics, writes and exits: it is async-signal-safe.

use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// How many mappings can be announced at a time. More are not watched.
const SLOTS: usize = 16;

/// An announced mapping. `end` is 0 while the slot is free, and written last.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    text: AtomicPtr<u8>,
    text_len: AtomicUsize,
}

static MAPPINGS: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        text: AtomicPtr::new(std::ptr::null_mut()),
        text_len: AtomicUsize::new(0),
    }
}; SLOTS];

/// While it lives, truncation of a mapped file ends the process with a message and exit code 1. The mapping must live
/// as long.
#[derive(Debug)]
#[must_use = "the file is watched until the guard is dropped"]
pub struct TruncationGuard {
    slot: Option<usize>,
}

impl TruncationGuard {
    /// Watches `mapping`, a mapping of the file `path`. Installs the process's SIGBUS handler. Does nothing on systems
    /// without that signal.
    pub fn new(mapping: &[u8], path: &Path) -> TruncationGuard {
        let message = format!("error: `{}` was truncated while it was in use\n", path.display());
        let Some(slot) = claim(mapping) else {
            return TruncationGuard { slot: None };
        };
        // The handler may read the message at any time, so it is never freed.
        let message: &'static mut [u8] = message.into_bytes().leak();
        MAPPINGS[slot].text_len.store(message.len(), Ordering::Relaxed);
        MAPPINGS[slot].text.store(message.as_mut_ptr(), Ordering::Relaxed);
        MAPPINGS[slot].end.store(mapping.as_ptr_range().end.addr(), Ordering::Release);
        install();
        TruncationGuard { slot: Some(slot) }
    }
}

impl Drop for TruncationGuard {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            MAPPINGS[slot].end.store(0, Ordering::Release);
            MAPPINGS[slot].start.store(0, Ordering::Release);
        }
    }
}

/// Takes a free slot for `mapping`.
fn claim(mapping: &[u8]) -> Option<usize> {
    let start = mapping.as_ptr().addr();
    let free = |slot: &Slot| slot.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    MAPPINGS.iter().position(free)
}

#[cfg(unix)]
fn install() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_bus_error as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: `action` is initialized, and the handler has the signature that SA_SIGINFO asks for.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    });
}

#[cfg(not(unix))]
fn install() {}

#[cfg(unix)]
extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system passes a valid `info`, which for SIGBUS holds an address.
    let address = unsafe { (*info).si_addr() }.addr();
    for slot in &MAPPINGS {
        let end = slot.end.load(Ordering::Acquire);
        if (slot.start.load(Ordering::Relaxed)..end).contains(&address) {
            let (text, len) = (slot.text.load(Ordering::Relaxed), slot.text_len.load(Ordering::Relaxed));
            // SAFETY: the message is never freed; `write` and `_exit` are async-signal-safe.
            unsafe {
                libc::write(libc::STDERR_FILENO, text.cast(), len);
                libc::_exit(1);
            }
        }
    }
    // Returning repeats the access, and the signal then has its default effect.
    // SAFETY: `signal` is async-signal-safe.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}
