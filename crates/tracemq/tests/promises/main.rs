//! What TraceMQ promises to its users, proven from outside: the real binary, real sockets, no inside knowledge.
//!
//! One file a promise. All are one test binary, so that they share the harness and link once. Run one file with
//! `cargo test -p tracemq --test promises reasons::`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "to panic is how a test, and the harness that it is made of, says no"
)]

mod access;
mod access_cli;
mod access_hook;
mod bounds;
mod clients_cli;
mod disk_full;
mod durability;
mod first_minute;
mod harness;
mod health_checks;
mod history_cli;
mod hostile;
mod http_log;
mod http_tls;
mod issued;
mod keys;
mod message_traces;
mod passwd_cli;
mod persistence;
mod persistence_wills;
mod reasons;
mod rust_clients;
mod second_signal;
mod store_cli;
mod store_erase;
mod store_moves;
mod store_repair;
mod storms;
mod strange_words;
mod ways_in;
mod ways_in_limits;
mod ways_in_proxy;
mod ways_in_rules;
mod ways_in_tls;
mod ways_in_websocket;
