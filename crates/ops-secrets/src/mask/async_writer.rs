//! Masking of a stream of tokio that comes in pieces.

use super::Masker;
use super::writer::Cutter;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// An asynchronous writer that masks what passes through, wherever the pieces are cut.
///
/// It holds back only the last bytes that more text could complete to a secret. `shutdown` writes those too; dropping the
/// writer loses them, because a drop cannot wait.
///
/// ```
/// use ops_secrets::{Masker, MaskingAsyncWriter};
/// use tokio::io::AsyncWriteExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let masker = Masker::new();
/// masker.register("password", "hunter2");
/// let mut writer = MaskingAsyncWriter::new(Vec::new(), masker);
/// writer.write_all(b"login with hun").await?;
/// writer.write_all(b"ter2\n").await?;
/// writer.shutdown().await?;
/// assert_eq!(writer.into_inner(), b"login with [redacted]\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MaskingAsyncWriter<W> {
    inner: W,
    cutter: Cutter,
    /// Masked, and not yet taken by the inner writer from `taken` on.
    ready: Vec<u8>,
    taken: usize,
}

impl<W: AsyncWrite + Unpin> MaskingAsyncWriter<W> {
    /// Masks what is written to `inner`.
    pub fn new(inner: W, masker: Masker) -> Self {
        Self { inner, cutter: Cutter::new(masker), ready: Vec::new(), taken: 0 }
    }

    /// Returns the inner writer; what was not shut down before is lost.
    pub fn into_inner(self) -> W {
        self.inner
    }

    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.ready.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(context, &self.ready[self.taken..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.taken += count,
            }
        }
        self.ready.clear();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for MaskingAsyncWriter<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What was taken before goes first, so that no more than one piece is ever held for a slow reader.
        ready!(self.poll_drain(context))?;
        self.cutter.push(bytes);
        self.ready = self.cutter.cut(false);
        match self.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Pending too: the bytes are ours now, and a flush waits for them.
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let rest = self.cutter.cut(true);
        self.ready.extend(rest);
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn every_cut_and_every_slowness_of_the_reader_gives_what_the_whole_gives() {
        let masker = Masker::new();
        masker.register("name", "hunter2-long-secret");
        masker.register("name", "hunter2");
        let text = "a hunter2 b hunter2-long-secret c hunter2-long hunt";
        let whole = masker.mask_str(text).into_owned();
        for room in [1, 2, 3, 7, 1024] {
            for cut in 0..=text.len() {
                let (inner, mut reader) = tokio::io::duplex(room);
                let mut writer = MaskingAsyncWriter::new(inner, masker.clone());
                let write = async {
                    writer.write_all(&text.as_bytes()[..cut]).await.expect("the reader reads");
                    writer.flush().await.expect("the reader reads");
                    writer.write_all(&text.as_bytes()[cut..]).await.expect("the reader reads");
                    writer.shutdown().await.expect("the reader reads");
                };
                let mut read = String::new();
                let (_, count) = tokio::join!(write, reader.read_to_string(&mut read));
                count.expect("the pipe is text");
                assert_eq!(read, whole, "room {room}, cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_an_error() {
        let masker = Masker::new();
        let (inner, reader) = tokio::io::duplex(4);
        drop(reader);
        let mut writer = MaskingAsyncWriter::new(inner, masker);
        let error = writer.write_all(b"more than four bytes").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
