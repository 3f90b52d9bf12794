//! The program elsewhere that is asked about clients, over HTTP or HTTPS. What its certificate must be signed with stands in a
//! file; another one, as whatever else goes wrong, is no verdict.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tracemq_access::mqtt::hook::{NoVerdict, Verdict, verdict};
use tracemq_door::Hook;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A longer answer is no verdict: 256 rules of 200 bytes fit in.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Where it is asked.
pub(super) struct HttpHook {
    agent: Agent,
    url: String,
}

impl HttpHook {
    /// # Errors
    /// When a CA can't be used; the text names the file.
    pub(super) fn new(url: &str, ca_file: Option<&Path>, timeout: Duration) -> anyhow::Result<Self> {
        // Without a file none is trusted.
        let authorities = ca_file.map(authorities).transpose()?.unwrap_or_default();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&authorities))
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0) // a password goes where it was meant to go
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Ok(Self { agent: config.into(), url: url.to_owned() })
    }
}

impl Hook for HttpHook {
    fn ask(&self, body: &str) -> Result<Verdict, NoVerdict> {
        let unreachable = |error: ureq::Error| NoVerdict::Unreachable(error.to_string());
        let asked = self.agent.post(&self.url).header("Content-Type", "application/json");
        let mut answer = asked.send(body).map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(unreachable)?;
        verdict(status, &body)
    }
}

/// Each that is in the file; one that can't be used would be passed over in silence later.
fn authorities(file: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let said = || format!("mqtt.hook.ca_file {}", file.display());
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
