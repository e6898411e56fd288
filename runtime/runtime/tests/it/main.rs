//! Hand-built artifacts load, run and fail as they should.
#![expect(unsafe_code, reason = "loads artifacts that the tests have made")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;
mod errors;
mod mutations;
mod run;
#[cfg(unix)]
mod truncation;
mod typed;
