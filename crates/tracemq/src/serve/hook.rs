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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a70_a_redirect_is_not_followed() {
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        inside.set_nonblocking(true).unwrap();
        let target = inside.local_addr().unwrap();
        let program = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", program.local_addr().unwrap());
        let answering = thread::spawn(move || {
            for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
                let (mut stream, _) = program.accept().unwrap();
                let _ = stream.read(&mut [0; 4_096]).unwrap();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nLocation: http://{target}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        for _ in 0..5 {
            let hook = HttpHook::new(&url, None, Duration::from_secs(10)).unwrap();
            assert!(hook.ask("{}").is_err());
        }
        answering.join().unwrap();
        assert!(inside.accept().is_err(), "it was followed");
    }
}
