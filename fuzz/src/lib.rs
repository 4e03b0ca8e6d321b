//! What the fuzz targets check, as plain functions of bytes, so that tests on stable replay the
//! corpus through the same code (`tests/fuzz_corpus.rs`, `clients/tests/programs/fuzz_corpus.rs`).

pub mod broker;
pub mod command;
pub mod config;
pub mod frame;
pub mod leaf;
mod lines;
pub mod nats;
pub mod template;
pub mod tls;
pub mod users;
