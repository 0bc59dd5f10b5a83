//! File events, where the system has them: a change is seen at once instead of at the next poll.
//!
//! Folders are watched, never files: a watch on a file dies with the file, and both Kubernetes and careful writers replace it.
//! Events are a hint to look; what is read decides, and polling goes on beside them.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The folders of a group.
#[derive(Debug)]
pub(super) struct Events {
    folders: BTreeSet<PathBuf>,
    #[cfg(target_os = "linux")]
    inotify: Option<linux::Inotify>,
}

impl Events {
    /// Watches folders; where that cannot be done, polling is what is left, and it is said.
    pub(super) fn new(folders: BTreeSet<PathBuf>) -> Self {
        #[cfg(target_os = "linux")]
        {
            let inotify = if folders.is_empty() { None } else { linux::Inotify::new() };
            let events = Self { folders, inotify };
            events.watch_again();
            events
        }
        #[cfg(not(target_os = "linux"))]
        Self { folders }
    }

    /// Waits for an event; for ever where there is nothing to watch.
    pub(super) async fn changed(&self) {
        #[cfg(target_os = "linux")]
        if let Some(inotify) = &self.inotify {
            inotify.changed().await;
            self.watch_again();
            return;
        }
        std::future::pending().await
    }

    /// Watches folders that came, or came again, since: a folder that is replaced takes its watch along.
    pub(super) fn watch_again(&self) {
        #[cfg(target_os = "linux")]
        for folder in &self.folders {
            if let Some(inotify) = &self.inotify {
                inotify.watch(folder);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = &self.folders;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use tokio::io::unix::AsyncFd;

    #[derive(Debug)]
    pub(super) struct Inotify(AsyncFd<OwnedFd>);

    impl Inotify {
        #[expect(
            deprecated,
            reason = "it is unsound for types that change the descriptor that they give, which OwnedFd does not"
        )]
        pub(super) fn new() -> Option<Self> {
            let made = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
                .map_err(std::io::Error::from)
                .and_then(AsyncFd::new);
            made.map(Self)
                .inspect_err(
                    |error| tracing::warn!(%error, "no file events, changes are seen by polling alone"),
                )
                .ok()
        }

        pub(super) fn watch(&self, folder: &Path) {
            // Not MODIFY: a file that is being written is not read before it is closed.
            let flags = WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            if let Err(error) = inotify::add_watch(self.0.get_ref(), folder, flags) {
                tracing::debug!(folder = %folder.display(), %error, "no file events from a folder");
            }
        }

        pub(super) async fn changed(&self) {
            let mut buffer = [0_u8; 4096];
            loop {
                let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
                // What happened does not matter, and all of it is one reason to look.
                let mut any = false;
                while rustix::io::read(self.0.get_ref(), &mut buffer).is_ok_and(|count| count > 0) {
                    any = true;
                }
                ready.clear_ready();
                if any {
                    return;
                }
            }
        }
    }
}
