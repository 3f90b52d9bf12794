//! Asks a server through its REST API, as anybody could.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracemq_api::rest::EventRow;

use super::question::{Question, Subject};
use super::shown::shown;
use crate::credentials;
use crate::exit::{Ended, Ending};
use crate::serve::ADDRESS_FILE;
use crate::trust;

/// Events of a page; the server gives no more at once.
pub(super) const PAGE_MAX: u64 = 1_000;

/// What to type when the server's certificate is not believed.
const BELIEVED_IF: &str = "name the CA that signs its certificate with --ca FILE, and a name that the certificate has with \
                           --url https://NAME:PORT";
/// The same of one that signs itself and says that it is a CA, as `openssl req -x509` makes it.
const NO_CA_IF: &str = "the certificate signs itself and says that it is a CA's: make it with \
                        -addext basicConstraints=critical,CA:FALSE, or have a CA sign another";

/// An event as the server gave it, and as it is understood.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) json: String,
    pub(super) event: EventRow,
}

/// A gap as the server gave it.
#[derive(Clone, Deserialize)]
pub(super) struct GapRow {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) lost: Option<u64>,
    pub(super) cause: String,
}

/// A page of the answer.
pub(super) struct Page {
    pub(super) items: Vec<Row>,
    pub(super) total: u64,
    pub(super) gaps: Vec<GapRow>,
    pub(super) next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct RawPage {
    items: Vec<Box<RawValue>>,
    total: u64,
    gaps: Vec<GapRow>,
    next_cursor: Option<String>,
}

/// Where the access key was found.
enum KeyFrom {
    Environment,
    File(PathBuf),
}

/// How a path is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    Get,
    Delete,
}

/// A server and the key to it.
pub(crate) struct Server {
    url: String,
    authorization: String,
    key_from: KeyFrom,
    agent: ureq::Agent,
    /// What to type when no server answers.
    without_it: String,
}

impl Server {
    /// The server named by `url`, or the one that runs on `data_dir`, or the default address. The key comes from
    /// `TRACEMQ_ACCESS_KEY_ID` and `TRACEMQ_ACCESS_KEY_SECRET`, or from the data folder.
    /// Over HTTPS its certificate is signed by one of `ca`, a file, or else of the system's.
    /// `in_files` is the command that has the same from the files of a server that is down.
    ///
    /// # Errors
    /// When there is no key, the URL is none, or the CAs can't be used.
    pub(crate) fn find(
        url: Option<&str>,
        ca: Option<&Path>,
        data_dir: &Path,
        in_files: Option<String>,
    ) -> anyhow::Result<Self> {
        let running = || fs::read_to_string(data_dir.join(ADDRESS_FILE)).ok().map(|text| text.trim().to_owned());
        let url = url.map(str::to_owned).or_else(running).unwrap_or_else(|| "http://127.0.0.1:8080".into());
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if !rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
            return Err(Ended {
                ending: Ending::Usage,
                what: format!("`{url}` is no URL of a server"),
                next: "write it like http://127.0.0.1:8080".into(),
            }
            .into());
        }
        let from_environment = (std::env::var("TRACEMQ_ACCESS_KEY_ID"), std::env::var("TRACEMQ_ACCESS_KEY_SECRET"));
        let (id, secret, key_from) = match from_environment {
            (Ok(id), Ok(secret)) => (id, secret, KeyFrom::Environment),
            _ => match credentials::load(data_dir)? {
                Some(found) => {
                    let key_from = KeyFrom::File(credentials::path(data_dir));
                    (found.access_key_id, found.access_key_secret, key_from)
                }
                None => bail!(
                    "no access key: there is no {}\n  say where the server keeps its data with --data-dir DIR, \
                     or set TRACEMQ_ACCESS_KEY_ID and TRACEMQ_ACCESS_KEY_SECRET",
                    credentials::path(data_dir).display()
                ),
            },
        };
        let authorities = match ca {
            Some(file) => trust::authorities("--ca", file)?,
            None if url.starts_with("https://") => trust::of_the_system(),
            None => Vec::new(),
        };
        let config = ureq::Agent::config_builder()
            .tls_config(trust::only(&authorities))
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .max_redirects(0)
            .build();
        let mut without_it = "start one with `tracemq serve`, or name it with --url".to_owned();
        if let Some(command) = in_files.filter(|_| crate::store::is_in(data_dir)) {
            let _ = write!(without_it, "; or read its files: {command}");
        }
        Ok(Self {
            without_it,
            url: url.trim_end_matches('/').to_owned(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))),
            key_from,
            agent: config.into(),
        })
    }

    pub(super) fn page(
        &self,
        question: &Question,
        newest_first: bool,
        limit: u64,
        cursor: Option<&str>,
    ) -> anyhow::Result<Page> {
        let body = self.call(Method::Get, &target(question, newest_first, limit, cursor))?;
        let raw: RawPage = serde_json::from_str(&body).context("the answer is not what this version understands")?;
        let items = raw.items.into_iter().map(|json| {
            let json = String::from(Box::<str>::from(json)); // as the server wrote it, whatever fields it knows
            serde_json::from_str(&json).map(|event| Row { json, event })
        });
        let items = items.collect::<Result<_, _>>().context("an event is not what this version understands")?;
        Ok(Page { items, total: raw.total, gaps: raw.gaps, next_cursor: raw.next_cursor })
    }

    /// What to do when no server answers as it should.
    fn way_out(&self, error: &ureq::Error) -> String {
        if !is_about_tls(error) {
            return self.without_it.clone();
        }
        // The library has no name for it that could be asked for.
        let is_ca = error.to_string().contains("CaUsedAsEndEntity");
        if is_ca { NO_CA_IF } else { BELIEVED_IF }.to_owned()
    }

    /// The body of the answer to a call of `target`, a path with its query.
    ///
    /// # Errors
    /// When no server answers, or it refuses.
    pub(crate) fn call(&self, method: Method, target: &str) -> anyhow::Result<String> {
        let url = format!("{}{target}", self.url);
        let request = match method {
            Method::Get => self.agent.get(&url),
            Method::Delete => self.agent.delete(&url),
        };
        let sent = request.header("authorization", &self.authorization).call();
        let mut response = sent.map_err(|error| Ended {
            ending: Ending::Unreachable,
            what: format!("no server answers at {}: {error}", self.url),
            next: self.way_out(&error),
        })?;
        let status = response.status().as_u16();
        let body =
            response.body_mut().with_config().limit(64 << 20).read_to_string().context("the answer broke off")?;
        if status != 200 {
            return Err(self.refusal(status, &body));
        }
        Ok(body)
    }

    fn refusal(&self, status: u16, body: &str) -> anyhow::Error {
        let problem: Option<Problem> = serde_json::from_str(body).ok();
        let said = problem.and_then(|p| p.detail.or(p.title)).unwrap_or_else(|| "it did not say why".into());
        let said = shown(&said);
        let key = match &self.key_from {
            KeyFrom::Environment => "the access key in TRACEMQ_ACCESS_KEY_ID and TRACEMQ_ACCESS_KEY_SECRET".to_owned(),
            KeyFrom::File(path) => format!("the access key in {}", path.display()),
        };
        let (what, next) = match status {
            401 => (
                format!("the server at {} refused {key}: {said}", self.url),
                match self.key_from {
                    KeyFrom::Environment => "set both to a key of this server, or unset them to use the data folder's",
                    KeyFrom::File(_) => "is that the data folder of this server? Name another with --data-dir DIR",
                },
            ),
            // The key is known: looking for another data folder would lead astray.
            403 => (
                format!("the policy of {key} does not allow this: {said}"),
                "use a key that may, or let whoever keeps the server's configuration change `policy` of this one",
            ),
            _ => return anyhow!("the server answered {status}: {said}"),
        };
        Ended { ending: Ending::Refused, what, next: next.into() }.into()
    }
}

fn is_about_tls(error: &ureq::Error) -> bool {
    if let ureq::Error::Io(io) = error {
        return io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    }
    matches!(error, ureq::Error::Tls(_) | ureq::Error::Rustls(_))
}

fn target(question: &Question, newest_first: bool, limit: u64, cursor: Option<&str>) -> String {
    let mut target = match &question.subject {
        Subject::Client(id) => format!("/api/v1/clients/{}/events", percent_encode(id)),
        Subject::Address(address) => {
            format!("/api/v1/addresses/{}/events", percent_encode(&address.to_string()))
        }
    };
    let order = if newest_first { "desc" } else { "asc" };
    let _ = write!(target, "?order={order}&limit={limit}");
    if let Some(instance) = &question.instance {
        let _ = write!(target, "&instance={}", percent_encode(instance));
    }
    if let Some(since) = question.since {
        let _ = write!(target, "&since={since}");
    }
    if let Some(until) = question.until {
        let _ = write!(target, "&until={until}");
    }
    if let Some(cursor) = cursor {
        let _ = write!(target, "&cursor={}", percent_encode(cursor));
    }
    target
}

#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
