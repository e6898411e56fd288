//! One element per thread: always applies.

use super::Schedule;

pub(super) const SCHEDULE: Schedule = Schedule { name: "scalar", lanes: |_, _| Some(1) };
