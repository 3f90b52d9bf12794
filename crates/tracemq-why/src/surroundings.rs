//! What the rest of the fleet did while the client dropped.

use tracemq_model::{ConnectionId, Event};

/// What the client's own history does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// About some of the client's drops, the latest ones.
    pub around: Vec<Around>,
    /// Connections from the client's addresses that ended before their CONNECT named anybody, oldest first.
    pub nameless: Vec<Event>,
}

/// What others did in a window about one drop of the client. Each other client counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// Which connection of the client it was.
    pub connection: ConnectionId,
    /// Others that dropped in the window.
    pub dropped: u64,
    /// How many drop in such a window usually, from shortly before.
    pub usually_dropped: u64,
    /// Others that were connected and stayed, as far as that is known.
    pub stayed: u64,
    /// Of those that dropped: the ones of the client's network (/24, /64).
    pub subnet_dropped: u64,
    /// Of those that stayed: the ones of the client's network.
    pub subnet_stayed: u64,
    /// Of those that dropped: the ones that the server ended for its own state (a stop, a crash, overload).
    pub ended_by_server: u64,
    /// Whether more happened than was looked at, so that the numbers are of a part.
    pub is_partial: bool,
}
