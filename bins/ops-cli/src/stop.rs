//! SIGINT and SIGTERM become a cancellation that the libraries understand.

use crate::exit::Exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The token that ends the work, and the memory of which signal ended it.
#[derive(Debug, Clone)]
pub struct Stop {
    token: CancellationToken,
    code: Arc<AtomicU8>,
}

impl Stop {
    /// Listens from now on; a second signal does not kill, because the clean-up is the part that matters.
    ///
    /// # Errors
    /// Fails where the signal handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        let stop = Stop { token: CancellationToken::new(), code: Arc::new(AtomicU8::new(0)) };
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let told = stop.clone();
        tokio::spawn(async move {
            let exit = tokio::select! {
                _ = interrupt.recv() => Exit::Interrupted,
                _ = terminate.recv() => Exit::Terminated,
            };
            tracing::warn!(
                signal = if exit == Exit::Interrupted { "SIGINT" } else { "SIGTERM" },
                "stopping cleanly"
            );
            told.code.store(exit.code(), Ordering::SeqCst);
            told.token.cancel();
        });
        Ok(stop)
    }

    /// The token to hand to a library.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The exit that a signal asked for; None where none came.
    pub fn exit(&self) -> Option<Exit> {
        let code = self.code.load(Ordering::SeqCst);
        Exit::ALL.into_iter().find(|exit| code != 0 && exit.code() == code)
    }
}
