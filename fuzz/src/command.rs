//! Command files of any bytes, and the same lines typed.

use clients::command::{Command, Role, Subscription, Typed, parse_file, parse_typed};
use wire::topic::{validate_filter, validate_group, validate_topic};

/// The bytes are the file.
pub fn check(data: &[u8]) {
    for role in [Role::Publisher, Role::Subscriber] {
        check_as(data, role);
    }
}

/// Reads the file once and types each line once: what is done twice halves what fuzzing gets to.
fn check_as(data: &[u8], role: Role) {
    let (commands, errors) = match parse_file("f.cmd", data, role) {
        Ok(commands) => (commands, Vec::new()),
        Err(errors) => {
            assert!(!errors.is_empty() && errors.is_sorted_by_key(|error| error.line));
            (Vec::new(), errors)
        }
    };
    let mut of_file = commands.into_iter().peekable();
    let mut lines = 0;
    for text in data.split(|&byte| byte == b'\n') {
        lines += 1;
        let typed = parse_typed(lines, text, role);
        if let Ok(Typed::Command(typed)) = &typed {
            check_command(&typed.command, role);
        }
        if let Some(command) = of_file.next_if(|command| command.line == lines) {
            check_command(&command.command, role);
            // The file's first line may begin with a mark that a typed line has not.
            if !text.starts_with(b"\xEF\xBB\xBF") {
                assert_eq!(typed, Ok(Typed::Command(command)), "typed as in a file");
            }
        }
    }
    assert!(of_file.next().is_none(), "each command is of a line");
    for error in errors {
        assert!((1..=lines).contains(&error.line) && !error.text.is_empty());
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
        (Command::Quit, _) => {}
        _ => panic!("a command of the other program: {command:?}"),
    }
}
