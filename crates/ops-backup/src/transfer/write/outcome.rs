//! What became of a piece that was read.

use crate::repo::content::{Piece, PieceRef};

pub(super) enum Outcome {
    /// With the bytes that were not in the repository before.
    New(Piece, u64),
    /// A piece of a large file that the repository has as a whole.
    Known {
        reference: PieceRef,
        length: u64,
        crc32c: u32,
    },
    /// A file that is in the base as it is.
    Same,
    Vanished,
}
