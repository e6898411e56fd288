//! Lays buffers out in an arena by their live ranges.
//!
//! Greedy: the largest first, each into the smallest gap among those alive with it that it fits. The result depends on
//! the intervals alone, and no two that are alive at once overlap.

/// Alignment of every buffer in the arena.
pub(crate) const ALIGNMENT: usize = 64;

/// A buffer's size and the steps during which it is alive, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) bytes: usize,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// Where each interval is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Layout {
    /// The offset of each interval.
    pub(crate) offsets: Vec<usize>,
    /// Bytes from there on that each may use.
    room: Vec<usize>,
    /// The size of the arena.
    pub(crate) bytes: usize,
}

impl Layout {
    /// Lays out intervals; `None` if they do not fit in memory.
    pub(crate) fn new(intervals: &[Interval]) -> Option<Layout> {
        let (offsets, bytes) = lay_out(intervals)?;
        Some(Layout { offsets, room: intervals.iter().map(|interval| interval.bytes).collect(), bytes })
    }

    /// Lays out intervals so that each can grow by a quarter.
    pub(crate) fn with_room(intervals: &[Interval]) -> Option<Layout> {
        let grown = |interval: &Interval| {
            let bytes = interval.bytes.checked_add(interval.bytes / 4)?.checked_next_multiple_of(ALIGNMENT)?;
            Some(Interval { bytes, ..*interval })
        };
        Layout::new(&intervals.iter().map(grown).collect::<Option<Vec<_>>>()?)
    }

    /// Whether intervals of the same lives fit without much waste.
    pub(crate) fn fits(&self, intervals: &[Interval]) -> bool {
        let needed = intervals.iter().fold(0usize, |sum, interval| sum.saturating_add(interval.bytes));
        let room = self.room.iter().fold(0usize, |sum, &bytes| sum.saturating_add(bytes));
        intervals.len() == self.room.len()
            && intervals.iter().zip(&self.room).all(|(interval, &room)| interval.bytes <= room)
            && room / 2 <= needed.saturating_add(64 * ALIGNMENT * intervals.len())
    }
}

/// The offset of each interval and the size of the arena; `None` if that does not fit in memory.
fn lay_out(intervals: &[Interval]) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(intervals[i].bytes), intervals[i].first, i));
    let mut offsets = vec![0; intervals.len()];
    // Placed intervals by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(intervals.len());
    let mut total = 0usize;
    for index in order {
        let interval = intervals[index];
        let size = interval.bytes.checked_next_multiple_of(ALIGNMENT)?;
        let offset = best_gap(intervals, &offsets, &placed, interval, size);
        total = total.max(offset.checked_add(size).filter(|&end| isize::try_from(end).is_ok())?);
        offsets[index] = offset;
        let at = placed.partition_point(|&p| offsets[p] <= offset);
        placed.insert(at, index);
    }
    Some((offsets, total))
}

/// Start of the smallest gap of at least `size` bytes among what is alive with `interval`, or the end of it all.
fn best_gap(intervals: &[Interval], offsets: &[usize], placed: &[usize], interval: Interval, size: usize) -> usize {
    let mut best: Option<(usize, usize)> = None;
    let mut end = 0;
    for &other in placed {
        let neighbour = intervals[other];
        if neighbour.last < interval.first || neighbour.first > interval.last {
            continue;
        }
        let gap = offsets[other].saturating_sub(end);
        if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max(offsets[other] + neighbour.bytes.next_multiple_of(ALIGNMENT));
    }
    best.map_or(end, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_intervals(seed: &mut u64, n: usize) -> Vec<Interval> {
        let mut random = |below: u64| {
            *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (*seed >> 33) % below
        };
        let mut interval = || {
            let first = random(40) as u32;
            Interval { bytes: random(5000) as usize, first, last: first + random(8) as u32 }
        };
        (0..n).map(|_| interval()).collect()
    }

    #[test]
    fn live_buffers_do_not_overlap() {
        let mut seed = 7;
        for round in 0..300 {
            let intervals = random_intervals(&mut seed, round % 60);
            let (offsets, total) = lay_out(&intervals).unwrap();
            assert_eq!(lay_out(&intervals).unwrap(), (offsets.clone(), total), "the same intervals, the same layout");
            for (i, a) in intervals.iter().enumerate() {
                assert!(offsets[i].is_multiple_of(ALIGNMENT) && offsets[i] + a.bytes <= total);
                for (j, b) in intervals.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    assert!(!together || apart || a.bytes == 0 || b.bytes == 0, "{a:?} and {b:?} overlap");
                }
            }
        }
    }

    #[test]
    fn a_layout_with_room_serves_what_grows() {
        let intervals = |bytes: usize| -> Vec<Interval> {
            (0..3).map(|i| Interval { bytes: bytes << (2 * i), first: i, last: i + 1 }).collect()
        };
        assert!(!Layout::new(&intervals(64 << 10)).unwrap().fits(&intervals(65 << 10)));
        let layout = Layout::with_room(&intervals(64 << 10)).unwrap();
        assert!(layout.fits(&intervals(80 << 10)));
        assert!(!layout.fits(&intervals(81 << 10)) && !layout.fits(&intervals(16 << 10)));
    }

    #[test]
    fn memory_is_reused() {
        let chain: Vec<Interval> = (0..10).map(|i| Interval { bytes: 1000, first: i, last: i + 1 }).collect();
        assert_eq!(lay_out(&chain).unwrap().1, 2 * 1024);
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let interval = Interval { bytes: usize::MAX - 10, first: 0, last: 0 };
        assert_eq!(lay_out(&[interval]), None);
        let half = Interval { bytes: isize::MAX as usize - 100, first: 0, last: 0 };
        assert_eq!(lay_out(&[half, half]), None);
    }
}
