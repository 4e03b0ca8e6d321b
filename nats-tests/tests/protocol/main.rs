//! The protocol's rules, table by table, each against literal answers. Runs against a nats-server
//! (`SERVER=…/nats-server`) as well, which shows that the tables are right.

mod client;
mod connect;
mod delivery;
mod ending;
mod limits;
mod malformed;
mod refused;
mod requests;
mod splits;
mod subscriptions;
mod verbose;

use nats_tests::server::Server;

/// Tests in which the broker differs from the reference, each with its reason. They are not run
/// against the reference.
const DIFFERENCES: [(&str, &str); 9] = [
    ("message_from_a_client", "the reference may take HMSG for a message"),
    ("a_cr_within_a_line", "the reference loses bytes over it"),
    ("garbage_behind_ping", "the reference has no limit there"),
    ("literal_wildcards", "publishing to one is not delivered here"),
    ("subjects_that_no_listener_could_carry", "the reference takes them"),
    ("pedantic_once", "the reference repeats its error for a payload in a later read"),
    ("one_order_for_all", "the reference promises none"),
    ("drain", "the reference drops what is undelivered"),
    ("lame_duck", "the reference says it for another signal"),
];

/// The server for this test, unless it is skipped.
fn server_unless_different(test: &str, options: &[&str]) -> Option<Server> {
    let (_, reason) = DIFFERENCES.iter().find(|row| row.0 == test).expect("the test is listed");
    let server = Server::under_test(options);
    if server.is_reference {
        println!("skipped, since {reason}");
        return None;
    }
    Some(server)
}
