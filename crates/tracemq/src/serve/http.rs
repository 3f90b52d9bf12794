//! The HTTP listener of the configuration: plain, or over TLS with certificates that are read again on SIGHUP.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tracemq_api::{Door, Shaking, Stream};
use tracemq_door::Certificates;
use tracing::warn;

use super::{server, ways_in};
use crate::config::Config;

/// What it is called in the log and in metrics, beside MQTT listeners: none of them can have a name with brackets.
const NAME: &str = "[http]";

/// A listener that is bound.
pub(super) struct Bound {
    socket: TcpListener,
    /// Its address, with the port that port 0 picked.
    pub(super) address: SocketAddr,
    tls: Option<Certificates>,
}

/// Reads the certificate, if there is to be one, and binds the address.
///
/// # Errors
/// When the address can't be had or the certificate can't be used.
pub(super) fn bind(config: &Config) -> anyhow::Result<Bound> {
    let tls = certificates(config)?;
    let advice = "Choose another with --http ADDR, port 0 picks a free one";
    let socket = server::bind(config.http.listen, "http", advice)?;
    let address = socket.local_addr()?;
    if tls.is_none() && !address.ip().is_loopback() {
        warn!(
            http = %address,
            "HTTP can be reached from other machines, and secrets cross it unencrypted: set http.tls, or put a proxy with TLS in front"
        );
    }
    Ok(Bound { socket, address, tls })
}

impl Bound {
    /// Where it is found.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What is read again on SIGHUP.
    pub(super) fn certificates(&self) -> Option<(String, Certificates)> {
        self.tls.clone().map(|tls| (NAME.to_owned(), tls))
    }

    /// For the API to serve at.
    pub(super) fn door(self) -> Door {
        let Some(certificates) = self.tls else { return self.socket.into() };
        let handshake = move |stream| -> Shaking {
            let certificates = certificates.clone();
            Box::pin(async move { Ok(Box::new(certificates.accept(stream).await?) as Box<dyn Stream>) })
        };
        Door::tls(self.socket, std::sync::Arc::new(handshake))
    }
}

/// Reads the certificate of `[http]`.
///
/// # Errors
/// When it can't be used: with the file.
pub(super) fn certificates(config: &Config) -> anyhow::Result<Option<Certificates>> {
    let load = |tls| Certificates::load(ways_in::files(tls)?).context("http.tls");
    config.http.tls.as_ref().map(load).transpose()
}
