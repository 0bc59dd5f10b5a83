//! Checksums of data pages. Pure.
//!
//! Source: `storage/checksum_impl.h` and `storage/bufpage.h`, unchanged from PostgreSQL 9.3 to 18.

use crate::postgres::lsn::Lsn;

const LANES: usize = 32;
const PRIME: u32 = 16_777_619;
const OFFSETS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// What a page of a running cluster looks like to a backup that began at some position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageState {
    /// The checksum is right, or the page was never used.
    Good,
    /// The checksum is wrong, but the page names a position since the backup began: replay writes it again whole, and a torn
    /// read is harmless. Unless the position itself is damaged, and lies where the WAL has never been.
    Newer(Lsn),
    /// The checksum is wrong and nothing excuses it, unless a second read differs.
    Bad,
}

/// Judges `page`, block `block` of its relation (counted over all files of the relation).
pub(crate) fn judge(page: &[u8], block: u32, backup_start: Lsn) -> PageState {
    let u16_at = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let upper = u16_at(14);
    if upper == 0 {
        // A page that is extended but not yet initialised is zero all over.
        return if page.iter().all(|byte| *byte == 0) { PageState::Good } else { PageState::Bad };
    }
    if u16_at(8) == checksum(page, block) {
        return PageState::Good;
    }
    let lsn = lsn(page);
    if lsn >= backup_start { PageState::Newer(lsn) } else { PageState::Bad }
}

/// Returns the position of the last change of `page`; `None` for a page that was never used, or says nothing.
pub(crate) fn position(page: &[u8]) -> Option<Lsn> {
    let is_used = page[14..16] != [0, 0];
    Some(lsn(page)).filter(|lsn| is_used && lsn.0 > 0)
}

fn lsn(page: &[u8]) -> Lsn {
    let half =
        |at: usize| u64::from(u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]));
    Lsn(half(0) << 32 | half(4))
}

fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = OFFSETS;
    let mut rows = page.chunks_exact(LANES * 4);
    if let Some(row) = rows.next() {
        let mut words = words(row);
        // The checksum field itself counts as zero: the low half of the third word.
        words[2] &= 0xFFFF_0000;
        mix(&mut sums, &words);
    }
    for row in rows {
        mix(&mut sums, &words(row));
    }
    mix(&mut sums, &[0; LANES]);
    mix(&mut sums, &[0; LANES]);
    let folded = sums.iter().fold(0, |folded, sum| folded ^ sum) ^ block;
    u16::try_from(folded % 65_535 + 1).expect("a remainder of 65535, plus one, fits")
}

fn words(row: &[u8]) -> [u32; LANES] {
    let mut words = [0; LANES];
    for (word, bytes) in words.iter_mut().zip(row.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

#[inline]
fn mix(sums: &mut [u32; LANES], words: &[u32; LANES]) {
    for (sum, word) in sums.iter_mut().zip(words) {
        let mixed = *sum ^ word;
        *sum = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A page as the server writes it.
    pub(crate) fn page(lsn: Lsn, block: u32) -> Vec<u8> {
        let mut page: Vec<u8> = (0..8192_u32).map(|at| (at % 251) as u8).collect();
        page[0..4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        page[4..8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
        page[14..16].copy_from_slice(&8000_u16.to_le_bytes());
        let sum = checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page
    }

    #[test]
    fn pages_are_judged_by_checksum_then_position() {
        let start = Lsn(0x1_0000_1000);
        let good = page(Lsn(0x1_0000_0FFF), 7);
        assert_eq!(judge(&good, 7, start), PageState::Good);
        assert_eq!(judge(&good, 8, start), PageState::Bad, "a page at the wrong place");
        for at in [10, 100, 8191] {
            let mut flipped = good.clone();
            flipped[at] ^= 0x10;
            assert_eq!(judge(&flipped, 7, start), PageState::Bad, "bit flipped in byte {at}");
        }
        let mut torn = page(start, 7);
        torn[4096] ^= 1;
        assert_eq!(judge(&torn, 7, start), PageState::Newer(start));
    }

    #[test]
    fn an_unused_page_must_be_zero_all_over() {
        let mut page = vec![0; 8192];
        assert_eq!(judge(&page, 0, Lsn(1)), PageState::Good);
        page[5000] = 1;
        assert_eq!(judge(&page, 0, Lsn(1)), PageState::Bad);
    }
}
