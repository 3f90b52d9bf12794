//! The API from outside its crate: requests in, answers out, with a clock and a store that tests hold in their hands.
//!
//! All are one test binary, so that they share the harness and link once. Functions named `a01_...` are lines of the
//! checklist of attacks on signed APIs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "to panic is how a test, and the harness that it is made of, says no"
)]

mod access;
mod audit;
mod bad_requests;
mod connections;
mod devices;
mod erasure;
mod export;
mod exposition;
mod faults_a01_a14;
mod faults_a15_a28;
mod faults_a29_a38;
mod faults_a48_a69;
mod fleet;
mod golden;
mod handshakes;
mod health;
mod issuing;
mod live;
mod messages;
mod openapi;
mod rest;
mod signing;
mod surroundings;
mod trace_device;
mod trace_messages;
mod why;
mod world;
