//! Who may do what.
pub mod mqtt;
