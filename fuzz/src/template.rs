//! Templates of any text, filled in with any message.

use clients::cli::fill_in_template;

/// Up to the first zero the template, up to the second the topic, then the payload.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let Ok(template) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let topic = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let payload = parts.next().unwrap_or_default();
    let plain = fill_in_template(template, &topic, payload, false);
    let harmless = fill_in_template(template, &topic, payload, true);
    match (plain, harmless) {
        (Ok(plain), Ok(harmless)) => {
            check_harmless(template, &harmless);
            if !template.contains(['%', '\\']) {
                assert_eq!(plain, template.as_bytes(), "text stays as it is");
            }
        }
        (Err(plain), Err(harmless)) => assert!(plain == harmless && !plain.is_empty()),
        (plain, harmless) => panic!("understood in one way only: {plain:?} {harmless:?}"),
    }
}

/// What goes to a terminal has no control character but those of the template itself.
fn check_harmless(template: &str, out: &[u8]) {
    let of_template = |c: char| ['\n', '\t', '\0'].contains(&c) || template.contains(c);
    let text = String::from_utf8_lossy(out);
    let wild = text.chars().find(|c| c.is_control() && !of_template(*c));
    assert_eq!(wild, None, "it would drive the terminal");
}
