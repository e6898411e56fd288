//! The last error of each thread, and the border that no panic crosses.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The message of the last call that failed on this thread; empty if none did. It stays until the next failure on this
/// thread. In UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn ic_last_error() -> *const c_char {
    LAST.with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr()))
}

/// Runs `body`, notes why it failed, and gives the status: 0 if it did not, 1 for an error, 2 for a panic.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), String>) -> i32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(message)) => {
            note(&message);
            1
        }
        Err(panic) => {
            let said = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            note(&format!("internal error: {}; this is a bug in ic", said.unwrap_or("panic")));
            2
        }
    }
}

fn note(message: &str) {
    let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
    LAST.with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = text;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn last() -> String {
        // SAFETY: the pointer is to this thread's message.
        unsafe { CStr::from_ptr(ic_last_error()) }.to_string_lossy().into_owned()
    }

    #[test]
    fn each_thread_has_its_last_error() {
        assert_eq!(guarded(|| Err("no\0thing".into())), 1);
        assert_eq!(guarded(|| Ok(())), 0);
        assert_eq!(last(), "no thing");
        std::thread::spawn(|| assert_eq!(last(), "")).join().unwrap();
        assert_eq!(guarded(|| panic!("upside {}", "down")), 2);
        assert_eq!(last(), "internal error: upside down; this is a bug in ic");
    }
}
