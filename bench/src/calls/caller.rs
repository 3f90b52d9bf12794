//! One connection that makes signed calls, as the official SDKs do, and reads the answers.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tracemq_access::params::{Params, encode};
use tracemq_access::signature::acs3;

use super::Asked;
use super::history::{History, INSTANCE, Random};

const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Who calls.
pub(crate) struct Key {
    id: String,
    secret: String,
}

impl Key {
    /// Of a server's `credentials.toml`.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
            line.map(|value| value.trim().trim_matches('"').to_owned()).with_context(|| format!("no {name}"))
        };
        Ok(Self { id: of("access_key_id")?, secret: of("access_key_secret")? })
    }
}

/// What was answered.
#[derive(Default)]
pub(super) struct Served {
    pub(super) latencies_us: Vec<u64>,
    pub(super) bytes: u64,
}

pub(super) struct Caller<'a> {
    stream: TcpStream,
    host: SocketAddr,
    key: &'a Key,
    history: &'a History,
    page_size: u64,
    random: Random,
    body_hash: String,
    buffer: Vec<u8>,
}

impl<'a> Caller<'a> {
    pub(super) fn connect(
        host: SocketAddr,
        key: &'a Key,
        history: &'a History,
        page_size: u64,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        // Nobody else has its own port now, nor had its moment: the numbers, which are nonces as well, are its own.
        let since = Timestamp::now().as_nanosecond();
        let seed = u64::from(stream.local_addr()?.port()) | u64::try_from(since & 0xffff_ffff_ffff)? << 16;
        let body_hash = hex(&Sha256::digest(b""));
        Ok(Self { stream, host, key, history, page_size, random: Random(seed), body_hash, buffer: Vec::new() })
    }

    /// Calls until `end`, from `begin` on a call each `pause`, or the next as soon as one is answered.
    pub(super) fn call(
        mut self,
        asked: Asked,
        begin: Instant,
        pause: Option<Duration>,
        end: Instant,
    ) -> anyhow::Result<Served> {
        let mut served = Served::default();
        let mut due = begin;
        while due < end {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let request = match asked {
                Asked::Trace => self.signed()?,
                Asked::Livez => format!("GET /livez HTTP/1.1\r\nhost: {}\r\n\r\n", self.host),
            };
            self.stream.write_all(request.as_bytes())?;
            served.bytes += self.answer(asked)?;
            let now = Instant::now();
            served.latencies_us.push(u64::try_from(now.saturating_duration_since(due).as_micros())?);
            due = pause.map_or(now, |pause| due + pause);
        }
        Ok(served)
    }

    fn signed(&mut self) -> anyhow::Result<String> {
        let client = self.history.client(self.random.next())?;
        let range = self.history.range;
        let query = format!(
            "BeginTime={}&ClientId={}&CurrentPage=1&EndTime={}&InstanceId={INSTANCE}&MqttRegionId=cn-hangzhou&PageSize={}&Reverse=true",
            range.from.0,
            encode(client.as_str()),
            range.to.0,
            self.page_size
        );
        let headers = [
            ("accept", "application/json".to_owned()),
            ("host", self.host.to_string()),
            ("x-acs-action", "QueryMqttTraceDevice".to_owned()),
            ("x-acs-content-sha256", self.body_hash.clone()),
            ("x-acs-date", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            ("x-acs-signature-nonce", format!("{:016x}{:016x}", self.random.next(), self.random.next())),
            ("x-acs-version", "2020-04-20".to_owned()),
        ];
        let mut lines = String::new();
        for (name, value) in &headers {
            let _ = writeln!(lines, "{name}:{value}");
        }
        let names = headers.each_ref().map(|(name, _)| *name).join(";");
        let canonical_query = Params::parse(query.as_bytes())?.canonical(None);
        let canonical = format!("POST\n/\n{canonical_query}\n{lines}\n{names}\n{}", self.body_hash);
        let signature = acs3::sign(&self.key.secret, &acs3::string_to_sign(&canonical));
        let mut request = format!("POST /?{query} HTTP/1.1\r\ncontent-length: 0\r\n");
        for (name, value) in &headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        let (method, id) = (acs3::METHOD, &self.key.id);
        let _ = write!(
            request,
            "authorization: {method} Credential={id},SignedHeaders={names},Signature={signature}\r\n\r\n"
        );
        Ok(request)
    }

    /// Reads an answer to its end, and gives its length.
    fn answer(&mut self, asked: Asked) -> anyhow::Result<u64> {
        self.buffer.clear();
        let mut piece = [0; 16_384];
        loop {
            let read = self.stream.read(&mut piece)?;
            ensure!(read > 0, "the server closed the connection");
            self.buffer.extend_from_slice(piece.get(..read).unwrap_or_default());
            let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let (head, body) = self.buffer.split_at(head + 4);
            let text = std::str::from_utf8(head)?.to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length:")).context("no content-length")?;
            let length: usize = length.trim().parse()?;
            if body.len() < length {
                continue;
            }
            let said = String::from_utf8_lossy(body);
            let total = format!("\"Total\":{}", self.history.events_a_client);
            if !text.starts_with("http/1.1 200 ") || (asked == Asked::Trace && !said.contains(&total)) {
                bail!("it answered: {} {said}", text.lines().next().unwrap_or_default());
            }
            return Ok((head.len() + length) as u64);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
