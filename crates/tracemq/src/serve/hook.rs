//! The program elsewhere that is asked about clients, over HTTP or HTTPS. What its certificate must be signed with stands in a
//! file; another one, as whatever else goes wrong, is no verdict.

use std::path::Path;
use std::time::Duration;

use tracemq_access::mqtt::hook::{NoVerdict, Verdict, verdict};
use tracemq_door::Hook;
use ureq::Agent;

use crate::trust;

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
        let authorities = ca_file.map(|file| trust::authorities("mqtt.hook.ca_file", file)).transpose()?;
        let tls = trust::only(&authorities.unwrap_or_default());
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
