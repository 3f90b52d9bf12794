//! HTTP: the history as others ask for it.
//!
//! - `/`: the RPC surface that ApsaraMQ for MQTT's SDKs call; all of its words live in `apsara/` alone.
//! - `/api/v1/...`: our own API; see [`rest`].
//! - `/explorer`: a page on which the calls of the first are filled in, signed and run.
//! - `/livez`, `/readyz`, `/metrics`: for those who run the server.
//!
//! [`router`] is all of it as a value, [`serve`] puts it on a listener. Nothing here writes to the store, and
//! no data leaves without a key: [`ROUTES`] says of every path how callers prove who they are.

mod access_log;
mod apsara;
mod audit;
mod caller;
mod clients;
mod cors;
mod etag;
mod explorer;
mod gaps;
mod issuing;
mod lookup;
mod metrics;
mod nonces;
mod request_id;
pub mod rest;
mod routes;
mod serve;
mod state;

pub use apsara::names_of_right;
pub use clients::{Clients, ConnectedClient, NoClients, SendError, Whose};
pub use issuing::{DevicesPage, IssueError, Issuing, NoIssuing};
pub use routes::{Login, ROUTES, Route, router};
pub use serve::{Door, Handshake, ServeLimits, Shaking, Stream, serve, serve_within};
pub use state::{ApiError, ApiSettings, ApiState, Clock, Gauges, Instance, Keys, MessageRecord};
