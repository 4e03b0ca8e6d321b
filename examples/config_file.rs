//! Prints `config.ini` as the table of settings makes it: `cargo run --example config_file`.

fn main() {
    print!("{}", broker::config::config_file());
}
