//! Our own API: everything that is known of each event, in MQTT's words, as flat JSON.
//!
//! Each call is a file: `history.rs`, `connections.rs`, ... What all begin with is `call.rs`, the parameters that they share are
//! `parameters.rs`. `openapi.rs` describes all of it, out of the code. Callers prove who they are by HTTP Basic.

mod call;
pub(crate) mod connections;
mod cursor;
pub(crate) mod devices;
pub(crate) mod erasure;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod fleet;
pub(crate) mod gaps;
pub(crate) mod history;
mod listing;
pub(crate) mod live;
mod login;
pub(crate) mod messages;
pub(crate) mod openapi;
mod parameters;
mod problem;
mod row;
mod table;
pub mod time_words;
pub(crate) mod why;

pub use crate::clients::ClientRow;
pub(crate) use problem::Problem;
pub(crate) use row::rfc_3339;
pub use row::{EventRow, GapRow};
