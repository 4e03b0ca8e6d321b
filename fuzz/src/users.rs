//! Files of users of any text.

use std::io;
use std::path::Path;

use broker::config::users::parse;
use broker::engine::access::{Credentials, Peer};

/// In every line of a file that gives this as a secret, it must stay untold.
const HUSH: &str = "hunter2hunter2hunter2";

/// The bytes are the file. Those behind the first zero byte are the machine's list of users.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, machine) = text.split_once('\0').unwrap_or((text, "ann:x:1001:1001::/:/bin/sh\n"));
    let passwd = || -> io::Result<String> { Ok(machine.to_owned()) };
    let read = |text: &str| parse(text, Path::new("u.ini"), None, &passwd);
    match read(text) {
        Ok(users) => {
            let nobody = users.identify(&Credentials::default(), &Peer::default());
            assert!(nobody.is_none(), "who shows nothing is nobody");
            let wrong = Credentials { token: HUSH, ..Credentials::default() };
            assert!(users.identify(&wrong, &Peer::default()).is_none());
        }
        Err(errors) => {
            let errors = errors.to_string();
            assert!((1..=20).contains(&errors.lines().count()), "{errors}");
            assert!(errors.lines().all(|line| line.starts_with("u.ini")), "{errors}");
        }
    }
    // One more user, whose secret was written down as it is.
    let told = read(&format!("{text}\n[zz zz]\nsecret = {HUSH}\ntoken {HUSH}\nnkey = {HUSH}\n"));
    let told = told.err().map(|errors| errors.to_string()).expect("that is no secret");
    assert!(text.contains(HUSH) || !told.contains(HUSH), "{told}");
}
