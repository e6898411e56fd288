//! Capture of streams, and graphs that do again what was captured.

use crate::api::{Handle, INVALID_VALUE, put};
use crate::driver::{check, with};
use crate::launch::perform;
use std::ffi::{c_uint, c_ulonglong};

api! {
    /// Begins to capture a stream.
    fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_uint) {
        with(|driver| {
            let captured = &mut driver.streams.get(stream)?.captured;
            if captured.is_some() {
                return Err(INVALID_VALUE);
            }
            *captured = Some(Vec::new());
            Ok(())
        })
    }

    /// Ends it; what was captured.
    fn cuStreamEndCapture(stream: Handle, to: *mut Handle) {
        with(|driver| {
            let captured = driver.streams.get(stream)?.captured.take().ok_or(INVALID_VALUE)?;
            check(put(to, driver.graphs.add(captured)))
        })
    }

    /// A graph that can be launched.
    fn cuGraphInstantiateWithFlags(to: *mut Handle, graph: Handle, _flags: c_ulonglong) {
        with(|driver| {
            let work = driver.graphs.get(graph)?.clone();
            check(put(to, driver.graphs.add(work)))
        })
    }

    /// Does what was captured again.
    fn cuGraphLaunch(graph: Handle, _stream: Handle) {
        with(|driver| {
            let work = driver.graphs.get(graph)?.clone();
            work.iter().try_for_each(|work| perform(driver, work))
        })
    }

    /// Forgets a graph.
    fn cuGraphDestroy(graph: Handle) {
        with(|driver| driver.graphs.remove(graph).map(|_| ()))
    }

    /// Forgets a graph that could be launched.
    fn cuGraphExecDestroy(graph: Handle) {
        with(|driver| driver.graphs.remove(graph).map(|_| ()))
    }
}
