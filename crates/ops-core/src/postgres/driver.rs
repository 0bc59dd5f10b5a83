//! The task that moves bytes between a client and its socket: it hears notifications, and watches what the server says
//! of the session's settings.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Connection, Notification};

/// How long the driver may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// How many notifications wait for a slow listener before the oldest go.
const NOTIFICATIONS: usize = 1024;

/// The settings that the server reports whenever they change, and what they must be.
const REPORTED: [(&str, &str); 3] = [
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "on"),
];

/// What the driver knows of its session.
#[derive(Debug)]
pub(super) struct Line {
    is_watched: AtomicBool,
    has_drifted: AtomicBool,
    notifications: broadcast::Sender<Notification>,
}

impl Line {
    /// Watches the settings from now on, or looks away while they are changed on purpose.
    pub(super) fn watch(&self, on: bool) {
        self.is_watched.store(on, Ordering::Release);
    }

    /// Tells whether the server reported a setting that the guard cannot work with.
    pub(super) fn has_drifted(&self) -> bool {
        self.has_drifted.load(Ordering::Acquire)
    }

    /// Gives the session up: nothing more is sent on it.
    pub(super) fn spoil(&self) {
        self.has_drifted.store(true, Ordering::Release);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notification> {
        self.notifications.subscribe()
    }

    fn look<S, T>(&self, connection: &Connection<S, T>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let holds = |(name, expected): &(&str, &str)| {
            connection.parameter(name).is_none_or(|value| value == *expected)
        };
        if self.is_watched.load(Ordering::Acquire) && !REPORTED.iter().all(holds) {
            self.spoil();
        }
    }
}

/// Gives a session up where what it is part of does not come to its end.
pub(super) struct SpoilUnlessDone<'a>(Option<&'a Line>);

impl<'a> SpoilUnlessDone<'a> {
    pub(super) fn new(line: &'a Line) -> Self {
        Self(Some(line))
    }

    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for SpoilUnlessDone<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.0 {
            line.spoil();
        }
    }
}

/// The running task.
#[derive(Debug)]
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    pub(super) fn spawn<S, T>(mut connection: Connection<S, T>) -> (Self, Arc<Line>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let line = Arc::new(Line {
            is_watched: AtomicBool::new(false),
            has_drifted: AtomicBool::new(false),
            notifications: broadcast::channel(NOTIFICATIONS).0,
        });
        let shared = Arc::clone(&line);
        let task = tokio::spawn(poll_fn(move |context| {
            loop {
                let polled = connection.poll_message(context);
                shared.look(&connection);
                match polled {
                    // Nobody may be listening.
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                        drop(shared.notifications.send(notification));
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    // An error of the line reaches whoever waits for an answer; here it only ends the task.
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }));
        (Self(task), line)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let abort = self.0.abort_handle();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.0.is_finished() => {
                runtime.spawn(async move {
                    tokio::time::sleep(GOODBYE).await;
                    abort.abort();
                });
            }
            _ => abort.abort(),
        }
    }
}

/// The notifications of the channels that a session listens to.
///
/// One that falls more than a thousand behind loses the oldest, and is told how many.
#[derive(Debug)]
pub struct Notifications(pub(super) broadcast::Receiver<Notification>);

/// What [`Notifications::next`] gives.
#[derive(Clone, Debug)]
pub enum Heard {
    /// One notification.
    Notification(Notification),
    /// So many were lost because nobody took them.
    Lost(u64),
}

impl Notifications {
    /// Waits for the next notification; none when the session has ended.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(notification) => Some(Heard::Notification(notification)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
