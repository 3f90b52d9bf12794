//! Questions about all clients together: what happened how often, who flaps, who dropped, and what those have in common.

pub(crate) mod common;
pub(crate) mod dropped;
pub(crate) mod flappers;
pub(crate) mod reasons;
