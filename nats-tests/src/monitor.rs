//! What a server tells over HTTP. Owns the request; knows no field.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::PATIENCE;

/// The JSON at this path. `None`: the server does not listen, or does not answer with 200.
///
/// # Panics
/// If it answers 200 with something that is no JSON.
pub fn read(address: SocketAddr, target: &str) -> Option<Value> {
    let (head, body) = request(address, target)?;
    let is_json = head.to_lowercase().contains("content-type: application/json");
    if !head.contains(" 200 OK") {
        return None;
    }
    assert!(is_json, "{target}: {head}");
    let value = serde_json::from_str(&body);
    Some(value.unwrap_or_else(|error| panic!("{target}: {error}: {body}")))
}

/// Head and body of the answer.
fn request(address: SocketAddr, target: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("the socket takes options");
    let request = format!("GET {target} HTTP/1.0\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}
