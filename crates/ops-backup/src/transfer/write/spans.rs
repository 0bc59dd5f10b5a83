//! Which stretches of a large file are merged at once, where only some of its pages come. Pure.

use crate::repo::content::{BLOCK, PIECE};
use crate::transfer::write::arrive::SPAN;

/// A stretch of a piece, and the pages of it that come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where it begins in its piece: at a block.
    pub(super) start: u64,
    pub(super) length: u64,
    /// By their number in the piece.
    pub(super) pages: Vec<u32>,
}

/// Cuts a file of `size` bytes, of which the pages `numbers` come: returns the stretches of each piece, which cover it. None
/// has many more pages than a span, and no block lies in two.
pub(super) fn stretches(size: u64, page_size: u32, numbers: &[u32]) -> Vec<Vec<Stretch>> {
    let page = u64::from(page_size);
    let most = usize::try_from(SPAN / page).expect("a span has few pages");
    let in_piece = u32::try_from(PIECE / page).expect("a piece has few pages");
    let block_of = |number: u32| u64::from(number) * page / BLOCK as u64;
    let mut rest = numbers;
    let pieces = (0..size.div_ceil(PIECE)).map(|piece| {
        let length = PIECE.min(size - piece * PIECE);
        let behind = rest.partition_point(|number| u64::from(*number / in_piece) <= piece);
        let (of_piece, others) = rest.split_at(behind);
        rest = others;
        let of_piece: Vec<u32> = of_piece.iter().map(|number| number % in_piece).collect();
        let (mut stretches, mut start, mut left) = (Vec::new(), 0, &of_piece[..]);
        loop {
            let mut count = most.min(left.len());
            while count < left.len() && block_of(left[count]) == block_of(left[count - 1]) {
                count += 1;
            }
            let (pages, others) = left.split_at(count);
            let end = others.first().map_or(length, |next| block_of(*next) * BLOCK as u64);
            stretches.push(Stretch { start, length: end - start, pages: pages.to_vec() });
            (start, left) = (end, others);
            if others.is_empty() {
                return stretches;
            }
        }
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_piece_without_pages_is_one_stretch() {
        let whole = |length| Stretch { start: 0, length, pages: vec![] };
        assert_eq!(stretches(PIECE + 5, 8192, &[]), [vec![whole(PIECE)], vec![whole(5)]]);
        let last = Stretch { pages: vec![0], ..whole(8192) };
        assert_eq!(stretches(PIECE + 8192, 8192, &[8192]), [vec![whole(PIECE)], vec![last]]);
    }

    proptest! {
        #[test]
        fn stretches_cover_a_file_and_hold_each_page_once(
            numbers in prop::collection::btree_set(0..20_000_u32, 0..8000),
            more in 0..9000_u32,
            page_size in prop::sample::select(vec![1024_u32, 8192, 16_384]),
        ) {
            let numbers: Vec<u32> = numbers.into_iter().collect();
            let pages = numbers.last().map_or(0, |last| last + 1) + more;
            let size = u64::from(pages) * u64::from(page_size);
            let mut found = Vec::new();
            let mut at = 0;
            for (number, piece) in stretches(size, page_size, &numbers).iter().enumerate() {
                for stretch in piece {
                    let offset = number as u64 * PIECE;
                    prop_assert_eq!(offset + stretch.start, at);
                    prop_assert_eq!(stretch.start % BLOCK as u64, 0);
                    at += stretch.length;
                    let bytes = stretch.pages.len() as u64 * u64::from(page_size);
                    prop_assert!(bytes < SPAN + BLOCK as u64);
                    for page in &stretch.pages {
                        let place = offset + u64::from(*page) * u64::from(page_size);
                        prop_assert!((at - stretch.length..at).contains(&place));
                        found.push(u32::try_from(place / u64::from(page_size)).unwrap());
                    }
                }
            }
            prop_assert_eq!(at, size);
            prop_assert_eq!(found, numbers);
        }
    }
}
