//! Where the nodes of trees lie: what a walk needs next is in the cache line that it has just read, as often as can be.

use super::prelude::*;
use super::tree_walk::Test;
use std::collections::VecDeque;

/// Bytes that are read together.
const LINE: usize = 64;

/// The table of nodes of a `TreeEnsemble`, its roots, and its attributes.
pub(super) struct Layout {
    pub(super) nodes: Vec<[i64; 2]>,
    pub(super) roots: Vec<i64>,
    pub(super) column_bits: usize,
    pub(super) depth: usize,
}

/// What lies at a place of the table.
#[derive(Clone, Copy)]
enum Place {
    /// Nothing: the rest of a line.
    Free,
    /// A test and where its children are, or a leaf.
    Test { test: usize, lead: usize },
    /// A node that is elsewhere.
    Jump { to: usize },
}

impl Layout {
    /// The table of `tests` in integers of `bits` bits. `None` if distances do not fit these.
    ///
    /// # Errors
    /// If a node leads back to itself.
    pub(super) fn new(tests: &[Test], roots: &[i64], bits: usize) -> Result<Option<Layout>> {
        let mut placing = Placing { tests, line: LINE / (bits / 4), at: vec![None; tests.len()], places: Vec::new() };
        let roots: Vec<i64> = roots.iter().map(|&root| placing.tree(root as usize) as i64).collect();
        let places = placing.places;
        let last_column = tests.iter().map(|test| test.column).max().unwrap_or(0);
        let column_bits = (last_column.max(1).ilog2() + 1) as usize;
        let farthest = 1i64 << (bits - 1 - column_bits);
        let mut nodes = Vec::new();
        for (at, place) in places.iter().enumerate() {
            let (split, lead, column) = match *place {
                Place::Free => (0, at, 0),
                Place::Jump { to } => (0, to, 0),
                Place::Test { test, lead } => (tests[test].split, lead, tests[test].column),
            };
            let offset = lead as i64 - at as i64;
            if !(-farthest..farthest).contains(&offset) {
                return Ok(None);
            }
            nodes.push([split, offset << column_bits | column as i64]);
        }
        let depth = depth(tests, &places, &roots)?;
        Ok(Some(Layout { nodes, roots, column_bits, depth }))
    }
}

/// A table in the making.
struct Placing<'a> {
    tests: &'a [Test],
    /// Nodes of a line.
    line: usize,
    /// Where tests are.
    at: Vec<Option<usize>>,
    places: Vec<Place>,
}

impl Placing<'_> {
    /// Places what is below `root`, and says where that is.
    fn tree(&mut self, root: usize) -> usize {
        if let Some(at) = self.at[root] {
            return at;
        }
        self.new_line();
        let first = self.places.len();
        self.put(root);
        let mut parents = vec![first];
        // A parent's children begin a cluster, but for the root's, whose has the root: as much of what is below as a line has
        // room for, the nearest first.
        while let Some(parent) = parents.pop() {
            if parent != first && self.size(parent) > self.room() {
                self.new_line();
            }
            let mut near = VecDeque::from([parent]);
            while let Some(parent) = near.pop_front() {
                let Place::Test { test, .. } = self.places[parent] else { continue };
                let Some(next) = self.tests[test].next else { continue };
                if self.room() < 2 {
                    parents.push(parent);
                    continue;
                }
                self.places[parent] = Place::Test { test, lead: self.places.len() };
                near.extend(next.map(|test| self.put(test)));
            }
        }
        first
    }

    /// Puts a test at the end of the table, or where it is if it has a place.
    fn put(&mut self, test: usize) -> usize {
        let here = self.places.len();
        self.places.push(match self.at[test] {
            Some(to) => Place::Jump { to },
            None => {
                self.at[test] = Some(here);
                Place::Test { test, lead: here }
            }
        });
        here
    }

    /// Free places of the last line; of a line that has not begun, all.
    fn room(&self) -> usize {
        self.line - self.places.len() % self.line
    }

    fn new_line(&mut self) {
        self.places.resize(self.places.len().next_multiple_of(self.line), Place::Free);
    }

    /// Places of the cluster below a node, at most a line.
    fn size(&self, parent: usize) -> usize {
        let Place::Test { test, .. } = self.places[parent] else { return 0 };
        let (mut near, mut size) = (VecDeque::from([test]), 0);
        while let Some(test) = near.pop_front() {
            if let Some(next) = self.tests[test].next {
                if size + 2 > self.line {
                    break;
                }
                size += 2;
                near.extend(next.into_iter().filter(|&test| self.at[test].is_none()));
            }
        }
        size
    }
}

/// Steps from a root to the deepest leaf.
///
/// # Errors
/// If a node leads back to itself.
fn depth(tests: &[Test], places: &[Place], roots: &[i64]) -> Result<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Steps {
        Unknown,
        /// Being found out.
        Asked,
        Known(usize),
    }
    let mut steps = vec![Steps::Unknown; places.len()];
    let mut waiting: Vec<usize> = roots.iter().map(|&root| root as usize).collect();
    while let Some(&at) = waiting.last() {
        let children = match places[at] {
            Place::Test { test, lead } if tests[test].next.is_some() => lead..lead + 2,
            Place::Jump { to } => to..to + 1,
            _ => 0..0,
        };
        match steps[at] {
            Steps::Known(_) => {
                waiting.pop();
            }
            Steps::Unknown => {
                steps[at] = Steps::Asked;
                if children.clone().any(|child| steps[child] == Steps::Asked) {
                    return Err(invalid!("a node leads back to itself"));
                }
                waiting.extend(children.filter(|&child| steps[child] == Steps::Unknown));
            }
            Steps::Asked => {
                let below = |child: usize| if let Steps::Known(steps) = steps[child] { steps + 1 } else { 0 };
                steps[at] = Steps::Known(children.map(below).max().unwrap_or(0));
                waiting.pop();
            }
        }
    }
    let known = |&root: &i64| if let Steps::Known(steps) = steps[root as usize] { steps } else { 0 };
    Ok(roots.iter().map(known).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        /// A number below `n`.
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n
        }
    }

    /// Random tests that lead to later ones, some to the same; then leaves. Each column is the number of its test.
    fn random(r: &mut Random, n: usize, leaves: usize) -> Vec<Test> {
        let mut tests: Vec<Test> = (0..n).map(|i| Test::new(i, 0, [(); 2].map(|()| i + 1 + r.below(20)))).collect();
        tests.extend((0..leaves).map(Test::leaf));
        tests
    }

    /// The leaf that a walk ends at where tests of some columns fail.
    fn walk(layout: &Layout, root: i64, fails: &[bool]) -> Option<i64> {
        let mut at = root;
        for _ in 0..=layout.depth {
            let [split, step] = layout.nodes[at as usize];
            let column = (step & ((1 << layout.column_bits) - 1)) as usize;
            let next = at + (step >> layout.column_bits) + i64::from(step != 0 && fails[column]);
            if next == at {
                return Some(split);
            }
            at = next;
        }
        None
    }

    #[test]
    fn walks_end_at_the_leaves_of_the_model() {
        for seed in 0..100 {
            let r = &mut Random(seed);
            let (n, leaves) = (r.below(60), 20 + r.below(20));
            let tests = random(r, n, leaves);
            let roots: Vec<i64> = (0..1 + r.below(4)).map(|_| r.below(n + leaves) as i64).collect();
            for bits in [32, 64] {
                let layout = Layout::new(&tests, &roots, bits).unwrap().unwrap();
                for _ in 0..50 {
                    // Column 0 never fails.
                    let fails: Vec<bool> = (0..=n.max(1)).map(|i| i > 0 && r.below(2) == 1).collect();
                    for (&root, &place) in roots.iter().zip(&layout.roots) {
                        let mut at = root as usize;
                        while let Some(next) = tests[at].next {
                            at = next[usize::from(fails[tests[at].column])];
                        }
                        assert_eq!(walk(&layout, place, &fails), Some(tests[at].split), "seed {seed}");
                    }
                }
            }
        }
    }

    #[test]
    fn offsets_that_do_not_fit_are_none() {
        let chain = |i: usize| Test::new((1 << 27) - 1, 0, [100, i + 1]);
        let tests: Vec<Test> = (0..100).map(chain).chain([Test::leaf(0)]).collect();
        assert!(Layout::new(&tests, &[0], 32).unwrap().is_none());
        assert_eq!(Layout::new(&tests, &[0], 64).unwrap().unwrap().depth, 101);
    }

    #[test]
    fn a_circle_is_refused() {
        let tests = [Test::new(1, 0, [2, 1]), Test::new(1, 0, [0, 2]), Test::leaf(0)];
        assert!(Layout::new(&tests, &[0], 32).is_err());
    }
}
