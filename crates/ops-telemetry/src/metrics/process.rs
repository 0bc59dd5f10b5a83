//! What the kernel says about this process, under the names that Prometheus' own clients use. Linux alone: elsewhere
//! there is no `/proc`, and the metrics are absent.

use std::fs;
use std::time::{Duration, SystemTime};

use super::desc::{Desc, Unit};
use super::registry::{Registry, Samples};
use crate::error::Error;

impl Registry {
    /// Registers CPU time, memory, file descriptors, threads and the start of this process, and the version of the
    /// service as `build_info`. The registry of [`Telemetry`](crate::Telemetry) has them already.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMetric`](crate::ErrorKind::InvalidMetric) where one of the names is taken.
    pub fn register_process(&self, service: &str, version: &str) -> Result<(), Error> {
        self.info(
            Desc::new("build_info", "What runs here."),
            &[
                ("service_name", service.to_owned()),
                ("service_version", version.to_owned()),
                ("telemetry_version", env!("CARGO_PKG_VERSION").to_owned()),
            ],
        )?;
        let seconds = |name, help| Desc::new(name, help).unit(Unit::Seconds);
        let bytes = |name, help| Desc::new(name, help).unit(Unit::Bytes);
        self.observe_counter(
            seconds("process_cpu_seconds_total", "Time on a processor, user and system."),
            &[],
            alone(cpu_seconds),
        )?;
        let start = start_time();
        self.observe_gauge(
            seconds("process_start_time_seconds", "Start of the process since the Unix epoch."),
            &[],
            alone(move || start),
        )?;
        self.observe_gauge(
            bytes("process_resident_memory_bytes", "Resident memory."),
            &[],
            alone(|| Some(status("VmRSS:")? * 1024.0)),
        )?;
        self.observe_gauge(
            bytes("process_virtual_memory_bytes", "Virtual memory."),
            &[],
            alone(|| Some(status("VmSize:")? * 1024.0)),
        )?;
        self.observe_gauge(Desc::new("process_threads", "Threads."), &[], alone(|| status("Threads:")))?;
        self.observe_gauge(Desc::new("process_open_fds", "Open file descriptors."), &[], alone(open_fds))?;
        self.observe_gauge(
            Desc::new("process_max_fds", "The most file descriptors that may be open."),
            &[],
            alone(max_fds),
        )
    }
}

/// A metric with one series, or none where the number is not known.
fn alone(read: impl Fn() -> Option<f64> + Send + Sync + 'static) -> impl Fn(&mut Samples<'_>) + Send + Sync {
    move |samples| {
        if let Some(value) = read() {
            samples.add(&[], value);
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    let fields = stat()?;
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / ticks_per_second())
}

fn start_time() -> Option<f64> {
    let after_boot = stat()?.get(19)?.parse::<f64>().ok()? / ticks_per_second();
    // `btime` of /proc/stat has whole seconds only; the time since the boot has hundredths.
    let uptime = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse::<f64>().ok()?;
    let boot = SystemTime::now().checked_sub(Duration::try_from_secs_f64(uptime).ok()?)?;
    Some(boot.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64() + after_boot)
}

fn open_fds() -> Option<f64> {
    // The directory that is read here is open too.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of /proc/self/stat from the third on (proc(5)): the second is the name of the program, in parentheses, and
/// may have blanks and parentheses itself.
fn stat() -> Option<Vec<String>> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn status(key: &str) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Reads AT_CLKTCK, entry 17 of the auxiliary vector: what sysconf(3) would say. 100 on all Linux machines of today.
fn ticks_per_second() -> f64 {
    const AT_CLKTCK: usize = 17;
    const WORD: usize = size_of::<usize>();
    let vector = fs::read("/proc/self/auxv").unwrap_or_default();
    let mut words =
        vector.chunks_exact(WORD).map(|word| usize::from_ne_bytes(word.try_into().unwrap_or_default()));
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == AT_CLKTCK && value > 0 {
            return value as f64;
        }
    }
    100.0
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let start = start_time().expect("known");
        assert!(start <= now + 1.0 && start > now - 3600.0 * 24.0, "{start} {now}");
        let before = open_fds().expect("known");
        let _file = fs::File::open("/proc/self/stat").expect("opens");
        assert!(open_fds().expect("known") > before.min(3.0));
        assert!(max_fds().expect("known") >= before);
        assert!(cpu_seconds().expect("known") >= 0.0);
        assert!(status("VmRSS:").expect("known") * 1024.0 > 100_000.0);
        assert!(status("Threads:").expect("known") >= 1.0);
        assert_eq!(ticks_per_second(), 100.0);
    }
}
