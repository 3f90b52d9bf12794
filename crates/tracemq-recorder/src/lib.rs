//! Takes events from the connection path without ever waiting for a store, brings them to the store in batches, and
//! counts what could not be brought.
//!
//! [`Recorder::record`] takes one short lock and never calls the store. A thread of its own gathers what was handed
//! over into batches, appends them in the order of hand-over, and tries again when a store refuses for a while. The
//! queue between the two is bounded in events and in bytes. What does not fit, or fails for good, is counted by cause
//! and becomes a [`Gap`](tracemq_model::Gap) in the store with the next batch that succeeds.
//!
//! At any moment: events handed over = recorded + lost + queued.

mod counts;
mod queue;
mod recent;
mod recorder;
mod seen;
mod settings;
mod size;
mod start;
mod writer;

pub use counts::{LostCounts, RecorderCounts};
pub use recent::{Arrived, Recent};
pub use recorder::{Clock, Recorder};
pub use settings::RecorderSettings;
pub use size::approximate_bytes;
