//! Configuration files of any text.

use std::path::Path;

use broker::config::Config;

/// The bytes are the file.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, Path::new("c.ini")).and_then(|config| config.validated("c.ini")) {
        Ok(config) => {
            let rules = config.rules();
            assert!(rules.memory_bytes > rules.max_payload);
            assert!(rules.max_connections > 0 && config.network.read_bytes > 0);
        }
        Err(errors) => assert!(errors.to_string().starts_with("c.ini:"), "{errors}"),
    }
}
