//! The daemon as the operator and the system see it: its command line, signals, sleep, log, units
//! and monitor.

#[path = "../support/mod.rs"]
mod support;

// Sockets that a service manager passes on.
mod activation;
// A broker with nothing to do sleeps.
mod asleep;
// The command line, the config file, exit codes, the log.
mod command_line;
// What the log tells of clients, and how often.
mod log_of_clients;
// A standard error that is not read.
mod log_unread;
// The HTTP port: figures, connections, metrics.
mod monitor;
// The user whose secret the HTTP port asks for.
mod monitor_user;
// Topics with rates; the dashboard and the alerts that are shipped.
mod monitoring;
// NATS clients in the monitor, and what NATS' own tools ask for.
mod nats_monitoring;
// Who may look into a process with secrets.
mod privacy;
// SIGHUP.
mod reload;
// File descriptors and memory that run out.
mod resources;
// Readiness, status and watchdog, as the service manager hears them.
mod service_manager;
// SIGTERM: draining, GOODBYE, the drain time-out.
mod shutdown;
// Starting, or reporting the reason where an operator looks for it.
mod start;
// The units of systemd and their sandbox.
mod units;
mod users;
// Unix sockets: their files, who is behind them, and that all roles work over them.
mod unix_sockets;
