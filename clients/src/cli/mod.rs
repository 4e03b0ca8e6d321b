//! The programs `publisher` and `subscriber`.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `args` | what the user typed |
//! | `target`, `defaults` | where to connect; host and port when they were left out |
//! | `input`, `prompt` | command files, lines of standard input, the prompt on a terminal |
//! | `pace` | when a command is due, and pauses between attempts |
//! | `template`, `output`, `escape` | how messages are printed |
//! | `report` | exit codes, and lines on standard error |
//! | `monitor`, `list` | what the broker's monitor reports, and how it is printed |
//! | `board` | the wanted subscriptions, across connections |
//! | `publish`, `tail` | the two programs |

mod args;
mod board;
mod defaults;
mod escape;
mod input;
mod list;
mod monitor;
mod output;
mod pace;
mod prompt;
mod publish;
mod report;
mod tail;
mod target;
mod template;

use clap::{Command, CommandFactory};

pub use publish::run as run_publisher;
pub use tail::run as run_subscriber;
pub use template::fill_in as fill_in_template;

/// The command lines of both programs, for manuals and completions.
pub fn commands() -> [Command; 2] {
    [args::PublisherArgs::command(), args::SubscriberArgs::command()]
}
