//! What the operating system reports about processes and the machine: Linux's /proc; where it is
//! missing or not readable, the answer is `None`.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Descriptors beside those of the connections.
const OWN_DESCRIPTORS: u64 = 64;

/// CPU time of a process, in seconds since its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cpu {
    /// In its own code.
    pub(crate) user: f64,
    /// In the kernel for it.
    pub(crate) system: f64,
    /// Both, more precisely than their sum.
    pub(crate) total: f64,
}

/// CPU time of process `pid`.
pub(crate) fn cpu_of(pid: u32) -> Option<Cpu> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let hz = clock_ticks_per_second() as f64;
    let (user, system) = (ticks(11)? / hz, ticks(12)? / hz);
    // Ticks are 10 ms; the scheduler counts nanoseconds, thread by thread.
    let total = scheduled(pid).filter(|total| *total > 0.0).unwrap_or(user + system);
    Some(Cpu { user, system, total })
}

fn scheduled(pid: u32) -> Option<f64> {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        total += text.split_whitespace().next()?.parse::<f64>().ok()? / 1e9;
    }
    Some(total)
}

/// The most memory that process `pid` had resident, in KiB.
pub(crate) fn peak_memory_kib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU seconds of this process.
pub(crate) fn own_cpu() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// CPU seconds of the calling thread.
pub(crate) fn thread_cpu() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds of everything on this machine, taken by the machine's host included.
pub(crate) fn machine_cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields = stat.lines().next()?.split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.map_while(|field| field.parse().ok()).take(8).collect();
    // Fields 3 and 4 are idle and waiting for a disk.
    let busy = ticks.iter().sum::<f64>() - ticks.get(3)? - ticks.get(4)?;
    Some(busy / clock_ticks_per_second() as f64)
}

/// The process that listens on `address`, if it is on this machine and may be inspected.
pub(crate) fn listener_on(address: SocketAddr) -> Option<u32> {
    // A port of another machine must not be looked up on this one.
    std::net::UdpSocket::bind((address.ip(), 0)).ok()?;
    let mut inodes = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        inodes.extend(
            text.lines()
                .skip(1)
                .filter_map(|line| Some(listening(line, address.port())?.to_owned())),
        );
    }
    let links: HashSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| has_descriptor(*pid, &links))
}

/// The inode of the socket in a line of /proc/net/tcp, if it listens on `port`.
fn listening(line: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    (local == port && *fields.get(3)? == LISTEN).then_some(*fields.get(9)?)
}

fn has_descriptor(pid: u32, links: &HashSet<String>) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|link| link.to_str().is_some_and(|link| links.contains(link)))
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine, for a report.
pub(crate) fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |path: &str, key: &str| {
        let text = read(path);
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let kernel = read("/proc/sys/kernel/osrelease");
    json!({
        "cores": cores(),
        "cpu": field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
        "memory": field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned()),
        "system": std::env::consts::OS,
        "kernel": kernel.trim(),
        "optimized": !cfg!(debug_assertions),
    })
}

/// Raises the limit of open descriptors to what `connections` need, as far as the process may.
pub(crate) fn raise_descriptors(connections: usize) {
    let wanted = connections as u64 + OWN_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        // If they are too few, a connection fails with the system's own error.
        let _ =
            setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum });
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_listener_on_a_port_of_ours_is_us() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(listener_on(address), Some(std::process::id()));
        drop(listener);
        assert_eq!(listener_on(address), None);
        assert_eq!(listener_on("192.0.2.1:22".parse().unwrap()), None);
    }

    #[test]
    fn our_own_figures_can_be_read() {
        let us = std::process::id();
        let cpu = cpu_of(us).unwrap();
        assert!(cpu.total > 0.0 && own_cpu() > 0.0 && thread_cpu() > 0.0);
        assert!(peak_memory_kib(us).unwrap() > 100.0);
        assert!(machine_cpu().unwrap() > 0.0);
        assert_eq!(cpu_of(u32::MAX), None);
    }
}
