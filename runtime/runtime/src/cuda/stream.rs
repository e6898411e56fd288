//! Streams, events, and graphs of what a stream was given.

use super::device::Device;
use crate::Error;
use cudarc::driver::result;
use cudarc::driver::sys;
use std::sync::Arc;

/// A queue of work that runs in order.
#[derive(Debug)]
pub(super) struct Stream {
    device: Arc<Device>,
    handle: sys::CUstream,
}

/// A point in a stream.
#[derive(Debug)]
pub(super) struct Event {
    device: Arc<Device>,
    handle: sys::CUevent,
}

/// Work that a stream does again.
#[derive(Debug)]
pub(super) struct Graph {
    device: Arc<Device>,
    handle: sys::CUgraphExec,
}

// SAFETY: handles, which the driver takes from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Send for Graph {}

impl Stream {
    /// A stream that waits for no other. The thread must have entered the device.
    pub(super) fn new(device: &Arc<Device>) -> Result<Stream, Error> {
        let created = result::stream::create(result::stream::StreamKind::NonBlocking);
        let handle = created.map_err(device.failed("a stream cannot be made"))?;
        Ok(Stream { device: device.clone(), handle })
    }

    pub(super) fn handle(&self) -> sys::CUstream {
        self.handle
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// If some of it failed.
    pub(super) fn synchronize(&self) -> Result<(), Error> {
        // SAFETY: the stream exists.
        unsafe { result::stream::synchronize(self.handle) }.map_err(self.device.failed("a run failed"))
    }

    /// From here on, work is recorded and not done.
    pub(super) fn begin_capture(&self) -> Result<(), Error> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream exists.
        unsafe { result::stream::begin_capture(self.handle, mode) }
            .map_err(self.device.failed("launches cannot be recorded"))
    }

    /// What was recorded.
    pub(super) fn end_capture(&self, device: &Arc<Device>) -> Result<Graph, Error> {
        let failed = || device.failed("launches cannot be recorded");
        // SAFETY: the stream exists.
        let recorded = unsafe { result::stream::end_capture(self.handle) }.map_err(failed())?;
        if recorded.is_null() {
            return Err(device.refuse("launches cannot be recorded: there is no graph".into()));
        }
        // SAFETY: the driver made the graph.
        let graph = unsafe { result::graph::instantiate(recorded, sys::CUgraphInstantiate_flags(0)) };
        // SAFETY: what was instantiated does not need it any more. Nothing can be done about an error.
        let _ = unsafe { result::graph::destroy(recorded) };
        Ok(Graph { device: device.clone(), handle: graph.map_err(failed())? })
    }
}

impl Event {
    /// An event that keeps the time. The thread must have entered the device.
    pub(super) fn new(device: &Arc<Device>) -> Result<Event, Error> {
        let created = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        Ok(Event { device: device.clone(), handle: created.map_err(device.failed("an event cannot be made"))? })
    }

    /// Lets it happen when the stream has come so far.
    pub(super) fn record(&self, stream: &Stream) -> Result<(), Error> {
        // SAFETY: both exist.
        unsafe { result::event::record(self.handle, stream.handle) }
            .map_err(self.device.failed("an event cannot be recorded"))
    }

    /// Milliseconds since `earlier`. Both must have happened.
    pub(super) fn since(&self, earlier: &Event) -> Result<f32, Error> {
        // SAFETY: both exist.
        unsafe { result::event::elapsed(earlier.handle, self.handle) }
            .map_err(self.device.failed("the time of a step is not known"))
    }
}

impl Graph {
    /// Gives the work to a stream.
    pub(super) fn launch(&self, stream: &Stream) -> Result<(), Error> {
        // SAFETY: both exist; the memory that the work uses outlives the graph.
        unsafe { result::graph::launch(self.handle, stream.handle) }
            .map_err(self.device.failed("recorded launches cannot be run"))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: made once; the memory that work uses goes after the work is done. Nothing can be done about
            // errors.
            let _ = unsafe { result::stream::synchronize(self.handle) };
            // SAFETY: as above.
            let _ = unsafe { result::stream::destroy(self.handle) };
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: made once. Nothing can be done about an error.
            let _ = unsafe { result::event::destroy(self.handle) };
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: made once; a run waits for its stream. Nothing can be done about an error.
            let _ = unsafe { result::graph::exec_destroy(self.handle) };
        }
    }
}
