//! Bytes that have come, as a reader.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use crate::engine::Contents;
use crate::error::Result;

/// Reads chunks from front to back; each is freed as soon as it is read.
pub(crate) struct Chunks(VecDeque<Bytes>);

impl Chunks {
    pub(crate) fn new(chunks: Vec<Bytes>) -> Self {
        Chunks(chunks.into())
    }
}

impl Contents for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(chunk) = self.0.front_mut() else { break };
            let length = chunk.len().min(buffer.len() - filled);
            chunk.copy_to_slice(&mut buffer[filled..filled + length]);
            filled += length;
            if chunk.is_empty() {
                self.0.pop_front();
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_across_their_borders() {
        let chunks: Vec<Bytes> = [b"ab" as &[u8], b"", b"cdefg", b"h"].map(Bytes::from_static).into();
        let (mut chunks, mut buffer) = (Chunks::new(chunks), [0; 3]);
        let mut all = Vec::new();
        loop {
            let read = chunks.read(&mut buffer).unwrap();
            all.push(String::from_utf8(buffer[..read].to_vec()).unwrap());
            if read < buffer.len() {
                break;
            }
        }
        assert_eq!(all, ["abc", "def", "gh"]);
    }
}
