//! Tests of CONNECT: the defaults, what merges, what is refused and why.

use super::ConnectError::{
    AuthorizationViolation, InvalidProtocol, Malformed, NoRespondersNeedsHeaders,
};
use super::*;

fn merged(json: &str) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::default();
    options.merge(json.as_bytes()).map(|()| options)
}

#[test]
fn a_clients_usual_connect_is_read() {
    let json = r#"{"verbose":false,"pedantic":false,"tls_required":false,"name":"a","lang":"go",
        "version":"1.0","protocol":1,"echo":true,"headers":true,"no_responders":true,
        "user":"u","pass":"p","auth_token":"t","nkey":"UA","sig":"s","jwt":"j"}"#;
    let options = merged(json).unwrap();
    let expected = ConnectOptions {
        verbose: false,
        pedantic: false,
        echo: true,
        headers: true,
        no_responders: true,
        tls_required: false,
        protocol: 1,
        name: "a".to_owned(),
        lang: "go".to_owned(),
        version: "1.0".to_owned(),
        credentials: Credentials {
            user: "u".to_owned(),
            pass: "p".to_owned(),
            auth_token: "t".to_owned(),
            nkey: "UA".to_owned(),
            sig: "s".to_owned(),
        },
    };
    assert_eq!(options, expected);
}

#[test]
fn what_is_left_out_or_null_or_unknown_changes_nothing() {
    let default = ConnectOptions::default();
    assert!(default.verbose && default.pedantic && default.echo && !default.headers);
    assert!(default.credentials.is_empty());
    for json in [
        "{}",
        " {} \t",
        r#"{"verbose":null,"pedantic":null,"echo":null,"headers":null,"no_responders":null}"#,
        r#"{"protocol":null,"name":null,"user":null,"jwt":null,"account":null,"new_account":null}"#,
        r#"{"protocol":0,"name":"","user":"","account":"","new_account":false}"#,
        r#"{"unknown":[{"verbose":false},1e999,"\ud800"],"":{},"verbose ":1}"#,
    ] {
        assert_eq!(merged(json).as_ref(), Ok(&default), "{json}");
    }
}

#[test]
fn keys_match_in_any_case_and_the_last_one_wins() {
    let options = merged(r#"{"USER":"a","user":"b","Verbose":false,"verbose":null}"#).unwrap();
    assert_eq!((options.credentials.user.as_str(), options.verbose), ("b", false));
    let options = merged(r#"{"user":"b","UsEr":"a","account":"x","ACCOUNT":""}"#).unwrap();
    assert_eq!(options.credentials.user, "a");
    assert_eq!(merged(r#"{"protocol":7,"protocol":1}"#).unwrap().protocol, 1);
    // It is an error all the same if one of them is of a wrong type.
    assert_eq!(merged(r#"{"protocol":"x","protocol":1}"#), Err(Malformed));
}

#[test]
fn a_second_connect_changes_what_it_names() {
    let mut options = merged(r#"{"user":"u","pass":"p","headers":true,"protocol":1}"#).unwrap();
    options.merge(br#"{"pass":"q","verbose":false,"no_responders":true}"#).unwrap();
    let who = &options.credentials;
    assert_eq!((who.user.as_str(), who.pass.as_str()), ("u", "q"));
    assert!(options.headers && options.no_responders && !options.verbose && options.protocol == 1);
    assert_eq!(options.merge(br#"{"headers":false}"#), Err(NoRespondersNeedsHeaders));
}

#[test]
fn connects_are_refused_for_the_first_rule_that_they_break() {
    let rows = [
        ("", Malformed),
        (" ", Malformed),
        ("X", Malformed),
        ("{", Malformed),
        ("[]", Malformed),
        ("1", Malformed),
        ("null", Malformed),
        ("{}x", Malformed),
        ("{} {}", Malformed),
        ("{}\0", Malformed),
        ("{,}", Malformed),
        (r#"{"verbose":false,}"#, Malformed),
        (r#"{"x":01}"#, Malformed),
        (r#"{"name":"a"#, Malformed),
        ("{\"name\":\"a\tb\"}", Malformed),
        ("{\"name\":\"a\u{1}b\"}", Malformed),
        (r#"{"verbose":"false"}"#, Malformed),
        (r#"{"verbose":0}"#, Malformed),
        (r#"{"echo":[]}"#, Malformed),
        (r#"{"name":1}"#, Malformed),
        (r#"{"name":[97]}"#, Malformed),
        (r#"{"pass":{}}"#, Malformed),
        (r#"{"jwt":1}"#, Malformed),
        (r#"{"account":1}"#, Malformed),
        (r#"{"new_account":"x"}"#, Malformed),
        (r#"{"protocol":1.0}"#, Malformed),
        (r#"{"protocol":1e0}"#, Malformed),
        (r#"{"protocol":"1"}"#, Malformed),
        (r#"{"protocol":true}"#, Malformed),
        (r#"{"protocol":99999999999999999999}"#, Malformed),
        (r#"{"account":"a","protocol":7,"no_responders":true}"#, AuthorizationViolation),
        (r#"{"new_account":true}"#, AuthorizationViolation),
        (r#"{"protocol":2,"no_responders":true}"#, InvalidProtocol),
        (r#"{"protocol":-1}"#, InvalidProtocol),
        (r#"{"protocol":256}"#, InvalidProtocol),
        (r#"{"no_responders":true}"#, NoRespondersNeedsHeaders),
        (r#"{"no_responders":true,"headers":false}"#, NoRespondersNeedsHeaders),
    ];
    for (json, expected) in rows {
        assert_eq!(merged(json), Err(expected), "{json}");
    }
}

#[test]
fn what_is_not_unicode_is_replaced() {
    let mut options = ConnectOptions::default();
    options.merge(b"{\"name\":\"a\xFF\",\"lang\":\"\\ud800x\",\"\xFF\":\"\xFF\"}").unwrap();
    assert_eq!(options.name, "a\u{FFFD}");
    assert!(options.lang.ends_with('x'));
}

#[test]
fn names_are_cut_between_characters_and_secrets_are_not_cut() {
    let long = "\u{e9}".repeat(200);
    let json = format!(r#"{{"name":"{long}","lang":"{long}","version":"{long}","pass":"{long}"}}"#);
    let options = merged(&json).unwrap();
    for name in [&options.name, &options.lang, &options.version] {
        assert_eq!(*name, long[..254]);
    }
    assert_eq!(options.credentials.pass, long);
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let json = r#"{"user":"u1","pass":"s1","auth_token":"s2","nkey":"k1","sig":"s3","jwt":"s4"}"#;
    let text = format!("{:?}", merged(json).unwrap());
    assert!(text.contains("u1") && text.contains("k1"), "{text}");
    assert!(!["s1", "s2", "s3", "s4"].iter().any(|secret| text.contains(secret)), "{text}");
}

#[test]
fn what_a_client_writes_is_read_back() {
    for json in [
        "{}",
        r#"{"verbose":false,"pedantic":false,"echo":false,"headers":true,"no_responders":true}"#,
        r#"{"tls_required":true,"protocol":1,"name":"a \" b","lang":"l","version":"v"}"#,
        r#"{"user":"u","pass":"p","auth_token":"t","nkey":"k","sig":"s"}"#,
    ] {
        let options = merged(json).unwrap();
        let again = String::from_utf8(options.to_json()).unwrap();
        assert_eq!(merged(&again), Ok(options), "{again}");
    }
}
