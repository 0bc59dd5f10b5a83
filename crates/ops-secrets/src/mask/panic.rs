//! A panic hook that masks. The library makes it; the program installs it.

use super::Masker;
use std::panic::PanicHookInfo;

/// A hook as [`std::panic::set_hook`] takes it.
pub type PanicHook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync + 'static>;

impl Masker {
    /// Returns a hook that hands one masked line about each panic to `sink`: the thread, the place, the message.
    ///
    /// A panic carries whatever was formatted into it, and the standard hook writes that to stderr past every logger. The
    /// program installs the hook, before it starts threads and after it has the masker:
    ///
    /// ```
    /// let masker = ops_secrets::Masker::new();
    /// std::panic::set_hook(masker.panic_hook(|line| eprintln!("{line}")));
    /// ```
    pub fn panic_hook(&self, sink: impl Fn(&str) + Send + Sync + 'static) -> PanicHook {
        let masker = self.clone();
        Box::new(move |info| {
            let payload = info.payload();
            let message = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("a value that is no text");
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
            sink(&masker.mask_str(&format!("thread '{name}' panicked{place}: {message}")));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn what_a_panic_says_is_masked() {
        let masker = Masker::new();
        masker.register("password", "hunter2-secret");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let hook = masker.panic_hook(move |line| sink.lock().expect("no panic within").push(line.to_owned()));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Other tests of this process may panic meanwhile, and they are none of ours.
            if std::thread::current().name() == Some("masked-panic") {
                hook(info);
            }
        }));
        let run = |work: fn()| {
            let thread = std::thread::Builder::new().name("masked-panic".into()).spawn(work);
            thread.expect("a thread starts").join().expect_err("it panics");
        };
        run(|| panic!("cannot log in with {}", "hunter2-secret"));
        run(|| panic!("hunter2-secret"));
        run(|| std::panic::panic_any(7_u8));
        std::panic::set_hook(before);
        let lines = lines.lock().expect("the threads ended");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].ends_with(": cannot log in with [redacted]"), "{lines:?}");
        assert!(
            lines[1].starts_with("thread 'masked-panic' panicked at ") && lines[1].ends_with(": [redacted]")
        );
        assert!(lines[2].ends_with(": a value that is no text"));
    }
}
