//! Where a long graph is cut into stretches, each of which is searched by itself.
//!
//! A run of repeated blocks, such as the layers of a decoder, is cut between the blocks, so that they come out alike.
//! What is not repeated is cut where few values cross.

use ic_ir::{Graph, Node, NodeId, Op};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// Fewest nodes of a block that repeats: shorter ones are taken several at a time.
const MIN_BLOCK: usize = 32;

/// How often a block must occur.
const MIN_BLOCKS: usize = 3;

/// Ranges of `nodes`, in order, of at most `limit` nodes each; one if they are no more than that.
pub(crate) fn stretches(graph: &Graph, nodes: &[(NodeId, &Node)], known: &[bool], limit: usize) -> Vec<Range<usize>> {
    let crossing = crossing(graph, nodes);
    let (mut found, mut start) = (Vec::new(), 0);
    if nodes.len() > limit {
        let codes: Vec<u64> = nodes.iter().map(|(_, node)| code(graph, node, known)).collect();
        for blocks in repeated_blocks(&codes, &crossing, limit) {
            cut(start..blocks[0].start, &crossing, limit, &mut found);
            start = blocks[blocks.len() - 1].end;
            found.extend(blocks);
        }
    }
    cut(start..nodes.len(), &crossing, limit, &mut found);
    found
}

/// Cuts a range into runs of nodes, each but the last of at least half of `limit`: it ends where the fewest values are
/// needed later.
fn cut(Range { mut start, end }: Range<usize>, crossing: &[usize], limit: usize, found: &mut Vec<Range<usize>>) {
    while end - start > limit {
        let ends = start + limit / 2..start + limit;
        let middle = ends.min_by_key(|&i| (crossing[i], std::cmp::Reverse(i))).unwrap_or(start) + 1;
        found.push(start..middle);
        start = middle;
    }
    found.extend(Some(start..end).filter(|rest| !rest.is_empty()));
}

/// For each node, the number of values computed by then that later nodes use.
fn crossing(graph: &Graph, nodes: &[(NodeId, &Node)]) -> Vec<usize> {
    let mut last_use = vec![0; graph.values().len()];
    for (i, (_, node)) in nodes.iter().enumerate() {
        node.operands.iter().flatten().for_each(|v| last_use[v.index()] = i);
    }
    let (mut crossing, mut ending) = (Vec::with_capacity(nodes.len()), vec![0; nodes.len() + 1]);
    let mut n_crossing = 0;
    for (i, (_, node)) in nodes.iter().enumerate() {
        n_crossing -= ending[i];
        for result in node.results.iter().filter(|result| last_use[result.index()] > i) {
            ending[last_use[result.index()]] += 1;
            n_crossing += 1;
        }
        crossing.push(n_crossing);
    }
    crossing
}

/// Follows from what a node does, and not from where its operands are computed.
fn code(graph: &Graph, node: &Node, known: &[bool]) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &node.op {
        Op::Constant(_) => {}
        op => op.hash(&mut hasher),
    }
    node.results.iter().for_each(|&result| graph.ty(result).hash(&mut hasher));
    node.operands.iter().for_each(|v| v.map(|v| known[v.index()]).hash(&mut hasher));
    hasher.finish()
}

/// The blocks of each run of repeated codes, from where they first repeat, cut where the fewest values cross.
fn repeated_blocks(codes: &[u64], crossing: &[usize], limit: usize) -> Vec<Vec<Range<usize>>> {
    let (mut found, mut start) = (Vec::new(), 0);
    while start + MIN_BLOCK * MIN_BLOCKS <= codes.len() {
        let Some((period, end)) = longest_run(&codes[start..], limit) else {
            start += 1;
            continue;
        };
        let end = start + end;
        // A cut is before the node at `first` and after the one that precedes it.
        let firsts = start..start + period;
        let first = firsts.min_by_key(|&i| (i.checked_sub(1).map_or(0, |last| crossing[last]), i)).unwrap_or(start);
        let n_blocks = (end - first) / period;
        found.push((0..n_blocks).map(|i| first + i * period..first + (i + 1) * period).collect());
        start = end;
    }
    found
}

/// Period and length of the longest run of equal blocks with which `codes` start.
fn longest_run(codes: &[u64], limit: usize) -> Option<(usize, usize)> {
    let longest = limit.min(codes.len() / MIN_BLOCKS);
    let periods = (MIN_BLOCK..=longest).filter(|&period| codes[period] == codes[0]);
    let runs = periods.map(|period| {
        let repeated = codes.iter().zip(&codes[period..]).take_while(|(a, b)| a == b).count();
        (period, period + repeated)
    });
    let enough = runs.filter(|(period, length)| *length >= MIN_BLOCKS * period);
    enough.max_by_key(|&(period, length)| (length, std::cmp::Reverse(period)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_behind_what_differs() {
        let layer = |i: u64| (0..40).map(move |k| if k == 7 { 1000 + i } else { k % 5 });
        let equal: Vec<u64> = (0..10).flat_map(|_| layer(0)).collect();
        let codes: Vec<u64> = (500..520).chain(equal).chain(600..610).collect();
        let crossing: Vec<usize> = (0..codes.len()).map(|i| if (i + 1) % 40 == 25 { 1 } else { 2 }).collect();
        let runs = repeated_blocks(&codes, &crossing, 100);
        assert_eq!(runs.len(), 1);
        assert!(runs[0].len() >= 9, "{:?}", runs[0]);
        assert!(runs[0].iter().all(|block| block.len() == 40 && block.start % 40 == 25));
        let different: Vec<u64> = (0..10).flat_map(layer).collect();
        assert!(repeated_blocks(&different, &crossing, 100).is_empty());
    }

    #[test]
    fn every_node_is_in_one_stretch() {
        let mut found = Vec::new();
        cut(3..250, &[1; 250], 100, &mut found);
        assert_eq!(found.first().map(|r| r.start), Some(3));
        assert_eq!(found.last().map(|r| r.end), Some(250));
        assert!(found.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(found.iter().all(|range| range.len() <= 100));
    }
}
