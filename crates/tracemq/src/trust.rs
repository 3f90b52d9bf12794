//! Whom this program believes when it asks others over HTTPS.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Each that is in the file; one that can't be used would be passed over in silence later. `key` is who named the file.
///
/// # Errors
/// When the file can't be read, or holds what is no certificate, or none.
pub(crate) fn authorities(key: &str, file: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let said = || format!("{key} {}", file.display());
    let pem = fs::read(file).with_context(said)?;
    let mut authorities = Vec::new();
    for found in CertificateDer::pem_slice_iter(&pem) {
        let found = found.with_context(said)?;
        RootCertStore::empty().add(found.clone()).with_context(said)?;
        authorities.push(Certificate::from_der(&found).to_owned());
    }
    if authorities.is_empty() {
        bail!("{}: holds no certificate, PEM", said());
    }
    Ok(authorities)
}

/// Those that the operating system has; none where it has none, and then nobody is believed.
pub(crate) fn of_the_system() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs().certs;
    found.iter().map(|found| Certificate::from_der(found).to_owned()).collect()
}

/// Believes who is signed by one of `authorities`, and nobody else.
pub(crate) fn only(authorities: &[Certificate<'static>]) -> TlsConfig {
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(authorities))
        .build()
}
