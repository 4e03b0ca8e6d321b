//! Command files of any bytes, and the same lines typed.

use broker::wire::topic::{validate_filter, validate_group, validate_topic};
use clients::command::{Command, Role, Subscription, Typed, parse_file, parse_typed};

/// The bytes are the file.
pub fn check(data: &[u8]) {
    for role in [Role::Publisher, Role::Subscriber] {
        check_file(data, role);
        for line in data.split(|&byte| byte == b'\n') {
            if let Ok(Typed::Command(typed)) = parse_typed(1, line, role) {
                check_command(&typed.command, role);
            }
        }
    }
}

fn check_file(data: &[u8], role: Role) {
    let lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    match parse_file("f.cmd", data, role) {
        Ok(commands) => {
            for command in commands {
                check_command(&command.command, role);
                let text = lines[command.line - 1];
                // The file's first line may begin with a mark that a typed line has not.
                if !text.starts_with(b"\xEF\xBB\xBF") {
                    let typed = parse_typed(command.line, text, role);
                    assert_eq!(typed, Ok(Typed::Command(command)), "typed as in a file");
                }
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty() && errors.is_sorted_by_key(|error| error.line));
            for error in errors {
                assert!((1..=lines.len()).contains(&error.line) && !error.text.is_empty());
            }
        }
    }
}

/// Nothing that the broker would refuse comes out of the parser.
fn check_command(command: &Command, role: Role) {
    match (command, role) {
        (Command::Publish { topic, .. }, Role::Publisher) => {
            assert!(validate_topic(topic.as_bytes()).is_ok());
        }
        (Command::Subscribe(what) | Command::Unsubscribe(what), Role::Subscriber) => {
            let Subscription { filter, group } = what;
            assert!(validate_filter(filter.as_bytes()).is_ok());
            let group = group.as_deref().map(|group| validate_group(group.as_bytes()));
            assert!(group.is_none_or(|valid| valid.is_ok()));
        }
        _ => panic!("a command of the other program: {command:?}"),
    }
}
