//! Walks down trees of f32 with AVX-512: each step gathers the nodes and the keys of eight walks, and [`VECTORS`] such steps
//! take turns, as a gather takes long to come back. What is outside of a table is masked off.

use std::arch::x86_64::*;

/// Vectors that take turns.
const VECTORS: usize = 8;

/// Walks of a vector.
const LANES: usize = 8;

/// Walks that take turns.
pub(super) const WALKS: usize = VECTORS * LANES;

/// The leaves at which walks from `at` end; each has `columns` keys. If `apart`, each vector of walks has keys of its own,
/// and of each column those of its walks side by side; else all have the same. `None` if a walk leaves the tables.
///
/// # Panics
/// If there are fewer keys.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
pub(super) fn leaves(
    nodes: &[[i32; 4]],
    depth: usize,
    at: &[u32; WALKS],
    keys: &[i32],
    columns: usize,
    apart: bool,
) -> Option<[u32; WALKS]> {
    assert!(keys.len() >= if apart { columns * WALKS } else { columns } && keys.len() <= i32::MAX as usize);
    let n_nodes = i32::try_from(nodes.len()).ok().filter(|&n| n < 1 << 28)?;
    let (n_nodes, n_columns) = (_mm256_set1_epi32(n_nodes), _mm256_set1_epi32(columns as i32));
    let one = _mm256_set1_epi32(1);
    // A key of column f is at f << shift, plus own.
    let shift = _mm_cvtsi32_si128(if apart { LANES.ilog2() as i32 } else { 0 });
    let own: [__m256i; VECTORS] = std::array::from_fn(|i| {
        let first = _mm256_set1_epi32((i * columns * LANES) as i32);
        let own = _mm256_add_epi32(first, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        if apart { own } else { _mm256_setzero_si256() }
    });
    let fields = nodes.as_ptr().cast::<i64>();
    let none = _mm512_setzero_si512();
    // SAFETY: an array of as many numbers.
    let mut now: [__m256i; VECTORS] =
        std::array::from_fn(|i| unsafe { _mm256_loadu_si256(at.as_ptr().add(i * LANES).cast()) });
    let mut inside = u8::MAX;
    for _ in 0..depth {
        let mut moved = 0;
        for (at, &own) in now.iter_mut().zip(&own) {
            let exists = _mm256_cmplt_epu32_mask(*at, n_nodes);
            let place = _mm256_slli_epi32::<1>(*at);
            // SAFETY: nodes are two numbers of 8 bytes, and those that do not exist are masked off.
            let (first, second) = unsafe {
                (
                    _mm512_mask_i32gather_epi64::<8>(none, exists, place, fields),
                    _mm512_mask_i32gather_epi64::<8>(none, exists, place, fields.wrapping_add(1)),
                )
            };
            let (lead, feature) = (_mm512_cvtepi64_epi32(first), _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(first)));
            let (from, span) = (_mm512_cvtepi64_epi32(second), _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(second)));
            let is_column = _mm256_cmplt_epu32_mask(feature, n_columns);
            let place = _mm256_add_epi32(_mm256_sll_epi32(feature, shift), own);
            // SAFETY: there are keys of all columns, and other columns are masked off.
            let key =
                unsafe { _mm256_mmask_i32gather_epi32::<4>(_mm256_setzero_si256(), is_column, place, keys.as_ptr()) };
            let is_beyond = _mm256_cmpgt_epu32_mask(_mm256_sub_epi32(key, from), span);
            let next = _mm256_mask_add_epi32(lead, is_beyond, lead, one);
            moved |= _mm256_cmpneq_epi32_mask(next, *at);
            inside &= exists & is_column;
            *at = next;
        }
        if moved == 0 {
            break;
        }
    }
    let mut leaves = [0; WALKS];
    for (at, leaves) in now.into_iter().zip(leaves.chunks_exact_mut(LANES)) {
        let exists = _mm256_cmplt_epu32_mask(at, n_nodes);
        inside &= exists;
        // SAFETY: as above; a vector has room for its leaves.
        unsafe {
            let second =
                _mm512_mask_i32gather_epi64::<8>(none, exists, _mm256_slli_epi32::<1>(at), fields.wrapping_add(1));
            _mm256_storeu_si256(leaves.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(second));
        }
    }
    (inside == u8::MAX).then_some(leaves)
}
