//! Lines that still wait when a program ends without saying so.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::shared::Shared;

/// How long the end of a thread waits for the lines before it.
const MAX_FLUSH: Duration = Duration::from_millis(500);

struct Guard(Arc<Shared>);

thread_local! {
    static GUARD: RefCell<Option<Guard>> = const { RefCell::new(None) };
}

/// Writes what waits when the calling thread ends. The main thread ends by returning from `main` and by
/// `std::process::exit`; both run the destructors of its thread-local values.
pub(crate) fn flush_when_this_thread_ends(shared: Arc<Shared>) {
    GUARD.with_borrow_mut(|guard| *guard = Some(Guard(shared)));
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end_process();
        self.0.flush(Instant::now() + MAX_FLUSH);
    }
}
