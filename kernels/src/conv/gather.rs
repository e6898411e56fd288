//! The inputs under the taps of 16 pixels of a channels-first convolution, as a panel of a matrix.

use super::geometry::Geometry;
use crate::pack::PANEL;
use crate::vector::{Task, Vector};
use std::ops::Range;

/// Packs a panel to `to`: `[channel, tap][pixel]`, with zeros where there is no input.
pub(super) struct GatherPanel<'a> {
    pub(super) geometry: &'a Geometry,
    /// The channels of one group of one image.
    pub(super) x: *const f32,
    pub(super) panel: usize,
    pub(super) to: *mut f32,
    /// Whether a row of ones follows.
    pub(super) ones: bool,
}

/// Pixels of the panel that follow one another on the last axis.
#[derive(Clone, Copy, Default)]
struct Run {
    /// The first of them in the panel.
    lane: usize,
    at: [usize; 3],
    len: usize,
}

/// Inputs of a run under one tap.
#[derive(Clone, Default)]
struct Inputs {
    /// Lanes of the panel that have one.
    lanes: Range<usize>,
    /// The first of them in a channel.
    from: usize,
}

impl Task for GatherPanel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let GatherPanel { geometry, x, panel, to, ones } = self;
        let (first, step, taps, area) = (panel * PANEL, geometry.step(), geometry.taps(), geometry.area());
        let width = PANEL.min(geometry.pixels() - first);
        let (mut runs, mut n_runs) = ([Run::default(); PANEL], 0);
        geometry.runs(first, width, |lane, at, len| {
            runs[n_runs] = Run { lane, at, len };
            n_runs += 1;
        });
        for tap in 0..taps {
            let mut inputs: [Inputs; PANEL] = Default::default();
            for (inputs, run) in inputs.iter_mut().zip(&runs[..n_runs]) {
                let (lanes, from) = geometry.under(run.at, run.len, tap);
                *inputs = Inputs { lanes: run.lane + lanes.start..run.lane + lanes.end, from };
            }
            let whole = step == 1 && inputs[0].lanes == (0..PANEL);
            for channel in 0..geometry.inputs {
                let to = to.wrapping_add((channel * taps + tap) * PANEL);
                let x = x.wrapping_add(channel * area);
                // SAFETY: the inputs lie in the channel; the panel has room.
                unsafe {
                    if whole {
                        V::load(x.add(inputs[0].from)).store(to);
                        continue;
                    }
                    V::splat(0.0).store(to);
                    for Inputs { lanes, from } in &inputs[..n_runs] {
                        for (i, lane) in lanes.clone().enumerate() {
                            *to.add(lane) = *x.add(from + i * step);
                        }
                    }
                }
            }
        }
        if ones {
            // SAFETY: the panel has room for one more row.
            unsafe { V::splat(1.0).store(to.wrapping_add(geometry.k() * PANEL)) };
        }
    }
}
