//! A socket in the middle that counts round trips.
//!
//! It passes on at once what the client sends, and holds the server's answers until both sides are quiet: what was sent
//! without waiting for an answer so falls into one round trip, however the two processes were scheduled.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// How long both sides must be quiet. A local server answers a statement of one row in a tenth of that.
const QUIET: Duration = Duration::from_millis(3);

/// How often the clients had to wait for the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// The number so far.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Listens in a folder as a server does, and carries every session on to the server's own socket.
    pub(crate) fn listen(folder: &Path, server: PathBuf) -> Result<Self> {
        let name = server.file_name().context("the server's socket has no name")?;
        let listener = UnixListener::bind(folder.join(name))
            .with_context(|| format!("no socket can be made in {}", folder.display()))?;
        let turns = Self::default();
        let counted = turns.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, turns) = (server.clone(), counted.clone());
                tokio::spawn(async move {
                    let Ok(server) = UnixStream::connect(server).await else { return };
                    // A session ends when one side goes; the other learns of it by its own socket.
                    let _ = carry(client, server, &turns.0).await;
                });
            }
        });
        Ok(turns)
    }
}

async fn carry(client: UnixStream, server: UnixStream, turns: &AtomicU64) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut question, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut held = Vec::new();
    let mut is_asked = false;
    loop {
        tokio::select! {
            read = from_client.read(&mut question) => match read? {
                0 => return Ok(()),
                length => {
                    to_server.write_all(&question[..length]).await?;
                    is_asked = true;
                }
            },
            read = from_server.read(&mut answer) => match read? {
                0 => return to_client.write_all(&held).await,
                length => held.extend_from_slice(&answer[..length]),
            },
            // It begins anew whenever either side says something.
            () = tokio::time::sleep(QUIET), if !held.is_empty() => {
                // Counted before the client can see the answer and ask for the count.
                turns.fetch_add(u64::from(std::mem::take(&mut is_asked)), Ordering::SeqCst);
                to_client.write_all(&held).await?;
                held.clear();
            }
        }
    }
}
