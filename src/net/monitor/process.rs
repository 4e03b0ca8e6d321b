//! What the system knows about this process.
//!
//! Owns how that is read: three small files, so only when it is asked for. What the system does not
//! tell is left out.

use std::fs;

use rlimit::Resource;

/// Ticks in a second in `/proc/self/stat`, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// The process, in the words of Prometheus' standard metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Process {
    /// Processor time in seconds.
    pub(super) cpu_seconds: Option<f64>,
    /// Bytes in memory, and of address space.
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    /// Descriptors that are open (only told by Linux 6.2 and newer), and that may be.
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
}

impl Process {
    /// This process, now.
    pub(super) fn read() -> Process {
        let text = |name: &str| fs::read_to_string(name).unwrap_or_default();
        let (stat, status) = (text("/proc/self/stat"), text("/proc/self/status"));
        // Counting what is in the directory would take as long as there are connections.
        let open = fs::metadata("/proc/self/fd").ok().map(|metadata| metadata.len());
        Process {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: kib(&status, "VmRSS:"),
            virtual_bytes: kib(&status, "VmSize:"),
            open_fds: open.filter(|count| *count > 0),
            max_fds: Resource::NOFILE.get_soft().ok(),
        }
    }
}

/// User and system time.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // Behind the name in parentheses, which may hold anything, come the fields from the third.
    let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((ticks(14)? + ticks(15)?) as f64 / TICKS)
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 99 1000 10";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(kib("Name:\tx\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12_288));
        assert_eq!(kib("", "VmRSS:"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let process = Process::read();
        assert!(process.resident_bytes > Some(100_000), "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.cpu_seconds.is_some() && process.max_fds > Some(10), "{process:?}");
    }
}
