//! A transaction block of one statement: whatever happens to whoever waits for it, it ends.

use std::pin::pin;
use std::task::{Context, Waker};

use tokio_postgres::GenericClient;

/// Sends a command without waiting for its answer; the server runs it before whatever is sent later.
///
/// The first poll of a simple query puts it into the queue of the connection.
pub(super) fn send_and_forget(client: &(impl GenericClient + Sync), command: &str) {
    let mut sending = pin!(client.batch_execute(command));
    // Ready or not: it is in the queue, or the session has ended.
    drop(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())));
}

/// An open block. Dropped before it is closed, as when its future is cancelled, it undoes what was done in it.
pub(super) struct Block<'a, C: GenericClient + Sync> {
    client: &'a C,
    undo: Option<&'a str>,
}

impl<'a, C: GenericClient + Sync> Block<'a, C> {
    /// Opens a block that these commands undo.
    pub(super) fn open(client: &'a C, undo: &'a str) -> Self {
        Self { client, undo: Some(undo) }
    }

    /// Closes it: nothing is left to undo.
    pub(super) fn close(mut self) {
        self.undo = None;
    }
}

impl<C: GenericClient + Sync> Drop for Block<'_, C> {
    fn drop(&mut self) {
        if let Some(undo) = self.undo {
            send_and_forget(self.client, undo);
        }
    }
}
