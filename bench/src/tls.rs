//! What an idle connection over TLS costs a server.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::wire::{self, CONNACK};

/// A certificate for `localhost` that nobody signed but itself, and its key, as files.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes `cert.pem` and `key.pem`, which every user may read: mosquitto gives up root before it does.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        fs::write(folder.join("cert.pem"), made.cert.pem())?;
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
        Ok(Self { der: made.cert.der().clone() })
    }
}

/// Connects `count` clients over TLS that stay and do nothing. Only their sockets are kept: what TLS needs on this side
/// is of no use any more.
pub(crate) fn hold(server: SocketAddr, certificate: &Certificate, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let clients = (0..count).map(|n| {
        let mut session = ClientConnection::new(Arc::clone(&config), ServerName::try_from("localhost")?)?;
        let mut socket = TcpStream::connect(server).context("connect")?;
        let mut stream = Stream::new(&mut session, &mut socket);
        stream.write_all(&wire::connect(&format!("idle-tls-{n:08}"), None))?;
        let mut connack = [0; CONNACK.len()];
        stream.read_exact(&mut connack).context("read CONNACK over TLS")?;
        ensure!(connack == CONNACK, "refused: {connack:?}");
        Ok(socket)
    });
    clients.collect()
}
