//! Walks down trees of f32 with AVX-512: each step gathers the nodes and the keys of 16 walks, and [`VECTORS`] such steps
//! take turns, as a gather takes long to come back. What is outside of a table is masked off.

use super::{Keys, LANES, Trees};
use std::arch::x86_64::*;

/// Vectors that take turns.
const VECTORS: usize = 4;

/// Walks of a vector.
const WIDTH: usize = 16;

/// Walks that take turns.
pub(super) const WALKS: usize = VECTORS * WIDTH;

/// The leaves at which walks from `at` end. `None` if a walk leaves the tables.
///
/// # Panics
/// If there are fewer keys than the walks have.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub(super) fn leaves(trees: &Trees<f32>, at: &[u32; WALKS], keys: Keys<i32>) -> Option<[u32; WALKS]> {
    let Keys { keys, columns, apart } = keys;
    assert!(keys.len() >= if apart { columns * WALKS } else { columns } && keys.len() <= i32::MAX as usize);
    let n_nodes = i32::try_from(trees.nodes.len()).ok()?;
    let (n_nodes, n_columns) = (_mm512_set1_epi32(n_nodes), _mm512_set1_epi32(columns as i32));
    let bits = _mm_cvtsi32_si128(trees.column_bits as i32);
    let column_mask = _mm512_set1_epi32(!(u32::MAX << trees.column_bits) as i32);
    // A key of column c is at c << shift, plus own.
    let shift = _mm_cvtsi32_si128(if apart { LANES.ilog2() as i32 } else { 0 });
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let own: [__m512i; VECTORS] = std::array::from_fn(|i| {
        // So many rows' keys come before those of the walks' rows.
        let before = _mm512_set1_epi32((columns * LANES) as i32);
        let groups = _mm512_add_epi32(_mm512_srli_epi32::<3>(lanes), _mm512_set1_epi32((i * WIDTH / LANES) as i32));
        let own = _mm512_mullo_epi32(groups, before);
        let own = _mm512_add_epi32(own, _mm512_and_si512(lanes, _mm512_set1_epi32(LANES as i32 - 1)));
        if apart { own } else { _mm512_setzero_si512() }
    });
    let nodes = trees.nodes.as_ptr().cast::<i64>();
    let (even, odd) = (
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31),
    );
    let none = _mm512_setzero_si512();
    // SAFETY: arrays of as many numbers.
    let mut now: [__m512i; VECTORS] =
        std::array::from_fn(|i| unsafe { _mm512_loadu_si512(at.as_ptr().add(i * WIDTH).cast()) });
    let mut inside = u16::MAX;
    let gather = |at: __m512i, exists: __mmask16| {
        let (low, high) = (_mm512_castsi512_si256(at), _mm512_extracti64x4_epi64::<1>(at));
        // SAFETY: nodes are numbers of 8 bytes, and those that do not exist are masked off.
        let [low, high] = unsafe {
            [
                _mm512_mask_i32gather_epi64::<8>(none, exists as u8, low, nodes),
                _mm512_mask_i32gather_epi64::<8>(none, (exists >> 8) as u8, high, nodes),
            ]
        };
        [_mm512_permutex2var_epi32(low, even, high), _mm512_permutex2var_epi32(low, odd, high)]
    };
    for _ in 0..trees.depth {
        let mut moved = 0;
        for (at, &own) in now.iter_mut().zip(&own) {
            let exists = _mm512_cmplt_epu32_mask(*at, n_nodes);
            let [split, step] = gather(*at, exists);
            let column = _mm512_and_si512(step, column_mask);
            let is_column = _mm512_cmplt_epu32_mask(column, n_columns);
            let place = _mm512_add_epi32(_mm512_sll_epi32(column, shift), own);
            // SAFETY: there are keys of all columns, and other columns are masked off.
            let key = unsafe { _mm512_mask_i32gather_epi32::<4>(none, is_column, place, keys.as_ptr()) };
            let is_beyond = _mm512_cmpgt_epi32_mask(key, split);
            let next = _mm512_add_epi32(*at, _mm512_sra_epi32(step, bits));
            let next = _mm512_mask_sub_epi32(next, is_beyond, next, _mm512_set1_epi32(-1));
            moved |= _mm512_cmpneq_epi32_mask(next, *at);
            inside &= exists & is_column;
            *at = next;
        }
        if moved == 0 {
            break;
        }
    }
    let mut leaves = [0; WALKS];
    for (at, leaves) in now.into_iter().zip(leaves.chunks_exact_mut(WIDTH)) {
        let exists = _mm512_cmplt_epu32_mask(at, n_nodes);
        inside &= exists;
        let [split, _] = gather(at, exists);
        // SAFETY: as many numbers.
        unsafe { _mm512_storeu_si512(leaves.as_mut_ptr().cast(), split) };
    }
    (inside == u16::MAX).then_some(leaves)
}
