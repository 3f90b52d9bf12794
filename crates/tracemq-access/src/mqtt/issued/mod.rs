//! What the server itself gave out for devices to log in with: tokens and device credentials, as ApsaraMQ knows them.
//!
//! Both books are kept as files of JSON lines; whoever owns the files writes [`Issued::tokens`] and
//! [`Issued::devices`] whole after each change.

mod devices;
mod tokens;

pub use devices::{DeviceBook, DeviceCredential, DeviceError};
pub use tokens::{Grant, TokenBook, TokenError, TokenState};

pub(super) use tokens::Tokens;

/// A file of a book that can't be used: with the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not what was written there")]
pub struct BookError(pub usize);

/// Both books.
#[derive(Debug, Default)]
pub struct Issued {
    /// Tokens.
    pub tokens: TokenBook,
    /// Credentials of devices.
    pub devices: DeviceBook,
}
