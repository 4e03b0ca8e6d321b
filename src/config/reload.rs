//! What becomes of a running broker's configuration when its file is read again.
//!
//! Owns the rule that some settings take their new value and others wait for a restart. Must not
//! apply anything: it only says what the new configuration is.

use std::fmt;

use super::{Config, ConfigErrors, SETTINGS, Setting};

/// A setting whose value in the file is not the one in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `section.key`.
    pub name: String,
    /// The value in force before, as it would be written.
    pub old: String,
    /// The value in the file.
    pub new: String,
}

/// What reading the file again comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reloaded {
    /// What is in force from now on: valid as a whole.
    pub config: Config,
    /// Settings that change, in the order of the file.
    pub changed: Vec<Change>,
    /// Settings that keep their old value until a restart.
    pub kept: Vec<Change>,
}

impl Config {
    /// What a broker that runs with `self` makes of `read`, which is what file and command line
    /// say now.
    ///
    /// # Errors
    /// When the new settings do not fit those that only a restart changes.
    pub fn reload(&self, read: &Config) -> Result<Reloaded, ConfigErrors> {
        let mut config = read.clone();
        let (mut changed, mut kept) = (Vec::new(), Vec::new());
        for setting in SETTINGS {
            let (old, new) = (setting.show(self), setting.show(read));
            if old == new {
                continue;
            }
            if !setting.reloads {
                setting.apply(&mut config, &old).map_err(|_| unreadable(setting, &old))?;
            }
            let name = format!("{}.{}", setting.section, setting.key);
            let list = if setting.reloads { &mut changed } else { &mut kept };
            list.push(Change { name, old, new });
        }
        let config = config.validated("the new settings and those that need a restart")?;
        Ok(Reloaded { config, changed, kept })
    }
}

/// Cannot happen: a value that is shown can be read, as a test of the table proves.
fn unreadable(setting: &Setting, value: &str) -> ConfigErrors {
    let (section, key) = (setting.section, setting.key);
    ConfigErrors::message(format!("[{section}] {key} = {value} cannot be kept: restart the broker"))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &str| if value.is_empty() { "(none)".into() } else { value.to_owned() };
        write!(f, "{} {} -> {}", self.name, shown(&self.old), shown(&self.new))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Config {
        Config::parse(text, Path::new("c.ini")).unwrap()
    }

    fn shown(changes: &[Change]) -> Vec<String> {
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value_and_is_named() {
        let old = read("[network]\nhost = ::1\n[limits]\noutbox_bytes = 1MiB\n");
        let new = read(
            "[network]\nhost = ::2\nmax_connections = 7\nread_bytes = 64KiB\n[log]\nfile = x\n",
        );
        let reloaded = old.reload(&new).unwrap();
        let changed = [
            "network.max_connections 10000 -> 7",
            "limits.outbox_bytes 1MiB -> 8MiB",
            "log.file (none) -> x",
        ];
        assert_eq!(shown(&reloaded.changed), changed);
        let kept = ["network.host ::1 -> ::2", "network.read_bytes 128KiB -> 64KiB"];
        assert_eq!(shown(&reloaded.kept), kept);
        assert_eq!(reloaded.config.network.host, "::1");
        assert_eq!(reloaded.config.network.read_bytes, 128 << 10);
        assert_eq!(reloaded.config.network.max_connections, 7);
        assert_eq!(shown(&reloaded.config.reload(&new).unwrap().kept), kept, "named each time");
    }

    #[test]
    fn same_file_changes_nothing() {
        let config = read("[timeouts]\nheartbeat = 0.25\n");
        let reloaded = config.reload(&config).unwrap();
        assert_eq!((reloaded.changed, reloaded.kept), (Vec::new(), Vec::new()));
        assert_eq!(reloaded.config, config);
    }

    #[test]
    fn new_settings_must_fit_those_that_are_kept() {
        let old = read("[network]\nread_bytes = 16MiB\n");
        // Fits its own read_bytes, not the ones that stay in force.
        let new = read("[network]\nread_bytes = 64KiB\n[limits]\nmemory_bytes = 2MiB\n");
        assert!(new.clone().validated("").is_ok());
        let error = old.reload(&new).unwrap_err().to_string();
        assert!(error.contains("memory_bytes is 2MiB"), "{error}");
    }

    #[test]
    fn every_value_that_is_kept_can_be_shown_and_read_again() {
        let config = read(
            "[network]\nhost = h\npublisher_port = 1\nsubscriber_port = 0\nread_bytes = 100\n\
             [limits]\nmax_payload = 3KiB\n",
        );
        for setting in SETTINGS.iter().filter(|setting| !setting.reloads) {
            let mut copy = Config::default();
            setting.apply(&mut copy, &setting.show(&config)).unwrap();
            assert_eq!(setting.show(&copy), setting.show(&config), "{}", setting.key);
        }
    }
}
