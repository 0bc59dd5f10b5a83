//! Reading listings and pieces back: one ranged request, then proof by hash.

use crate::error::{Error, Result};
use crate::repo::Repository;
use crate::repo::content::{Listing, Piece, Refusal};
use crate::repo::pack::{FrameReader, FrameRef, PackTable};

impl Repository {
    /// Returns the listing in `frame`.
    ///
    /// # Errors
    /// `NotFound` where its pack is missing, `Corrupt`.
    pub(crate) async fn read_listing(&self, frame: FrameRef, packs: &PackTable) -> Result<Listing> {
        self.read_content(frame, packs, "the listing", Listing::decode).await
    }

    /// Returns the piece in `frame`.
    ///
    /// # Errors
    /// `NotFound` where its pack is missing, `Corrupt`.
    pub(crate) async fn read_piece(&self, frame: FrameRef, packs: &PackTable) -> Result<Piece> {
        self.read_content(frame, packs, "the piece", Piece::decode).await
    }

    async fn read_content<T: Send + 'static>(
        &self,
        reference: FrameRef,
        packs: &PackTable,
        what: &'static str,
        decode: fn(&[u8], &PackTable) -> Result<T, Refusal>,
    ) -> Result<T> {
        let frame = reference.frame;
        let pack = packs.get(frame.pack);
        let end = frame.offset + u64::from(frame.stored);
        let stored = self.read_range(&pack.path(), frame.offset..end).await?;
        let (secrets, packs) = (self.secrets().clone(), packs.clone());
        let decode = move || {
            let mut reader = FrameReader::new(secrets.clone())?;
            let raw = reader.read(&pack, frame.offset, &stored, frame.raw)?;
            let content = if secrets.hash(raw) == reference.hash {
                decode(raw, &packs)
            } else {
                Err(Refusal::Damaged("has another hash".to_owned()))
            };
            content.map_err(|refusal| {
                refusal.at(format_args!("{what} at byte {} of {}", frame.offset, pack.path()))
            })
        };
        Error::joined(tokio::task::spawn_blocking(decode).await)
    }
}
