//! A limit on how fast a source is read, in front of any opener and shared by all that read through it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::{Contents, FileList, Findings, Opener};
use crate::error::Result;

/// Reads no more than so many bytes in a second.
pub(crate) struct Throttled {
    inner: Arc<dyn Opener>,
    limit: Arc<Limit>,
}

struct Limit {
    bytes_per_second: f64,
    /// When the bytes that were read so far are paid for.
    paid: Mutex<Instant>,
}

impl Throttled {
    pub(crate) fn new(inner: Arc<dyn Opener>, bytes_per_second: u64) -> Self {
        let limit =
            Limit { bytes_per_second: bytes_per_second.max(1) as f64, paid: Mutex::new(Instant::now()) };
        Throttled { inner, limit: Arc::new(limit) }
    }
}

impl Opener for Throttled {
    fn open(&self, files: &FileList, item: usize, offset: u64) -> Result<Option<Box<dyn Contents>>> {
        let Some(inner) = self.inner.open(files, item, offset)? else { return Ok(None) };
        Ok(Some(Box::new(Reader { inner, limit: Arc::clone(&self.limit) })))
    }

    fn findings(&self) -> Findings {
        self.inner.findings()
    }
}

struct Reader {
    inner: Box<dyn Contents>,
    limit: Arc<Limit>,
}

impl Contents for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.inner.read(buffer)?;
        std::thread::sleep(self.limit.pause(read, Instant::now()));
        Ok(read)
    }
}

impl Limit {
    /// Returns how long to wait after `bytes` were read at `now`. Time in which nothing was read is not saved up.
    fn pause(&self, bytes: usize, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now) + cost;
        *paid - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_readers_together_keep_the_limit() {
        let start = Instant::now();
        let limit = Limit { bytes_per_second: 1000.0, paid: Mutex::new(start) };
        assert_eq!(limit.pause(500, start), Duration::from_millis(500));
        assert_eq!(limit.pause(500, start), Duration::from_secs(1), "the second waits for the first too");
        let later = start + Duration::from_secs(10);
        assert_eq!(limit.pause(100, later), Duration::from_millis(100), "idle time is not saved up");
    }
}
