//! Streams and events. Work is done when it is given, unless its stream is captured.

use crate::api::{Handle, INVALID_VALUE, Status, put};
use crate::driver::{Driver, check, with};
use crate::launch::{Work, perform};
use std::ffi::{c_int, c_uint};
use std::time::Instant;

/// A stream, with what it has captured if it is being captured.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) captured: Option<Vec<Work>>,
}

/// Gives work to a stream; a null handle is the default stream.
pub(crate) fn enqueue(driver: &mut Driver, stream: Handle, work: Work) -> Result<(), Status> {
    if !stream.is_null()
        && let Some(captured) = &mut driver.streams.get(stream)?.captured
    {
        captured.push(work);
        return Ok(());
    }
    perform(driver, &work)
}

fn is_stream(driver: &mut Driver, stream: Handle) -> Result<(), Status> {
    if stream.is_null() { Ok(()) } else { driver.streams.get(stream).map(|_| ()) }
}

api! {
    /// A new stream.
    fn cuStreamCreate(to: *mut Handle, _flags: c_uint) {
        with(|driver| check(put(to, driver.streams.add(Stream::default()))))
    }

    /// A new stream; priorities have no effect.
    fn cuStreamCreateWithPriority(to: *mut Handle, _flags: c_uint, _priority: c_int) {
        with(|driver| check(put(to, driver.streams.add(Stream::default()))))
    }

    /// Ends a stream.
    fn cuStreamDestroy_v2(stream: Handle) {
        with(|driver| driver.streams.remove(stream).map(|_| ()))
    }

    /// Waits for a stream, whose work is done.
    fn cuStreamSynchronize(stream: Handle) {
        with(|driver| is_stream(driver, stream))
    }

    /// Whether a stream's work is done: it is.
    fn cuStreamQuery(stream: Handle) {
        with(|driver| is_stream(driver, stream))
    }

    /// Lets a stream wait for an event, which has happened.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) {
        with(|driver| {
            driver.events.get(event)?;
            is_stream(driver, stream)
        })
    }

    /// Whether a stream is being captured.
    fn cuStreamIsCapturing(stream: Handle, to: *mut c_uint) {
        with(|driver| {
            let captures = !stream.is_null() && driver.streams.get(stream)?.captured.is_some();
            check(put(to, c_uint::from(captures)))
        })
    }

    /// A new event.
    fn cuEventCreate(to: *mut Handle, _flags: c_uint) {
        with(|driver| check(put(to, driver.events.add(None))))
    }

    /// Ends an event.
    fn cuEventDestroy_v2(event: Handle) {
        with(|driver| driver.events.remove(event).map(|_| ()))
    }

    /// Lets an event happen when the stream has come so far: now.
    fn cuEventRecord(event: Handle, stream: Handle) {
        with(|driver| {
            is_stream(driver, stream)?;
            *driver.events.get(event)? = Some(Instant::now());
            Ok(())
        })
    }

    /// Waits for an event.
    fn cuEventSynchronize(event: Handle) {
        with(|driver| driver.events.get(event).map(|_| ()))
    }

    /// Whether an event has happened.
    fn cuEventQuery(event: Handle) {
        with(|driver| driver.events.get(event).map(|_| ()))
    }

    /// Milliseconds between two events, of the emulation.
    fn cuEventElapsedTime(to: *mut f32, start: Handle, end: Handle) {
        with(|driver| {
            let (start, end) = (*driver.events.get(start)?, *driver.events.get(end)?);
            let (start, end) = start.zip(end).ok_or(INVALID_VALUE)?;
            check(put(to, end.saturating_duration_since(start).as_secs_f32() * 1e3))
        })
    }
}
