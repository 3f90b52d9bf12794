//! How much memory an event takes.

use tracemq_model::{Event, MessageDetails};

/// About how many bytes `event` takes while it waits: itself and the texts that belong to it alone. The names of
/// instance and listener are shared by all events and not counted.
pub fn approximate_bytes(event: &Event) -> usize {
    let client = event.client.as_ref().map_or(0, |client| client.as_str().len());
    let username = event.details.username.as_ref().map_or(0, |text| text.len());
    let detail = event.details.detail.as_ref().map_or(0, |text| text.len());
    let message = event.details.message.as_ref();
    let message = message.map_or(0, |message| size_of::<MessageDetails>() + message.topic.len());
    size_of::<Event>() + client + username + detail + message
}
