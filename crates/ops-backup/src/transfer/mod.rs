//! Moving file data between disk and packs, in parallel and in bounded memory. Knows blocks and packs, not jobs.

pub(crate) mod read;
pub(crate) mod write;
