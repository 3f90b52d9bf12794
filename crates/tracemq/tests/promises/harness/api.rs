//! The two HTTP APIs as a user calls them: REST with an access key, and the signed RPC operation.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha1::Sha1;

use super::http::{Answer, encode, get};
use super::server::{Credentials, Server};
use super::{PATIENCE, now_ms, wait_until};

/// A page of the REST API.
#[derive(Debug, Deserialize)]
pub(crate) struct History {
    pub(crate) items: Vec<Event>,
    pub(crate) total: u64,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) next_cursor: Option<String>,
}

/// An event of the REST API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub(crate) struct Event {
    pub(crate) time_ms: i64,
    pub(crate) time: String,
    pub(crate) instance: String,
    pub(crate) connection: String,
    pub(crate) action: String,
    pub(crate) reason: String,
    pub(crate) initiator: String,
    pub(crate) provenance: String,
    pub(crate) client: Option<String>,
    pub(crate) peer: Option<String>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) reason_code: Option<u8>,
    pub(crate) other_connection: Option<String>,
    pub(crate) listener: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) tls_version: Option<String>,
    pub(crate) server_name: Option<String>,
    pub(crate) certificate_subject: Option<String>,
    pub(crate) certificate_issuer: Option<String>,
    pub(crate) certificate_not_after: Option<String>,
    pub(crate) count: Option<u64>,
}

impl Event {
    pub(crate) fn is_end(&self) -> bool {
        matches!(&*self.action, "disconnect" | "close")
    }
}

/// A span that the record does not cover.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Gap {
    pub(crate) cause: String,
    pub(crate) lost: Option<u64>,
}

impl History {
    /// The end of the connection from `peer`.
    pub(crate) fn end_of(&self, peer: &str) -> Option<&Event> {
        self.items.iter().find(|event| event.is_end() && event.peer.as_deref() == Some(peer))
    }

    /// Fails unless no event stands here twice, and every connection has exactly one end and nothing after it.
    pub(crate) fn assert_every_connection_ended_once(&self) {
        assert_eq!(self.items.len(), self.items.iter().collect::<HashSet<_>>().len(), "doubled events: {self:#?}");
        let mut connections = BTreeMap::<_, Vec<_>>::new();
        for event in &self.items {
            connections.entry(&event.connection).or_default().push(event);
        }
        for events in connections.values() {
            assert_eq!(events.iter().filter(|event| event.is_end()).count(), 1, "not exactly one end: {events:#?}");
            assert!(events.last().unwrap().is_end(), "something after the end: {events:#?}");
            assert!(events.iter().filter(|event| event.action == "connect").count() <= 1, "two connects: {events:#?}");
        }
    }
}

/// A row of `QueryMqttTraceDevice`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) channel_id: String,
    pub(crate) time: String,
    pub(crate) action_code: String,
    pub(crate) action: String,
    pub(crate) action_info: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Rows {
    #[serde(rename = "RequestId")]
    _request_id: String,
    current_page: u64,
    page_size: u64,
    total: usize,
    device_info_list: Vec<Row>,
}

/// The Authorization header of a login at the REST API.
pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{id}:{secret}")))
}

impl Server {
    /// `GET target` of the REST API with the right access key.
    pub(crate) fn rest(&self, target: &str) -> io::Result<Answer> {
        let key = self.credentials();
        self.try_rest_as(Some((&key.access_key_id, &key.access_key_secret)), target)
    }

    /// The same as whoever one claims to be.
    pub(crate) fn rest_as(&self, login: Option<(&str, &str)>, target: &str) -> Answer {
        self.try_rest_as(login, target).unwrap()
    }

    fn try_rest_as(&self, login: Option<(&str, &str)>, target: &str) -> io::Result<Answer> {
        let login = login.map(|(id, secret)| basic(id, secret));
        let header = login.as_deref().map(|login| ("Authorization", login));
        get(self.http, target, header.as_slice())
    }

    fn events(&self, subject: &str) -> io::Result<History> {
        let deadline = Instant::now() + PATIENCE;
        let mut all: Option<History> = None;
        loop {
            let cursor = all.as_ref().and_then(|h| h.next_cursor.as_deref()).map(|c| format!("&cursor={}", encode(c)));
            let cursor = cursor.unwrap_or_default();
            let answer = self.rest(&format!("/api/v1/{subject}/events?order=asc&limit=1000{cursor}"))?;
            if answer.status == 429 && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10)); // tests may ask more often than an account may
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.body);
            let page: History = serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.body));
            let all = match &mut all {
                None => all.insert(page),
                Some(all) => {
                    all.items.extend(page.items);
                    all.next_cursor = page.next_cursor;
                    all
                }
            };
            if all.next_cursor.is_none() {
                assert!(all.total <= all.items.len() as u64, "fewer events than in total: {all:#?}");
                break;
            }
        }
        Ok(all.unwrap())
    }

    /// All that is on record of a client, oldest first; an error only when the server can't be reached.
    pub(crate) fn try_history(&self, client: &str) -> io::Result<History> {
        self.events(&format!("clients/{}", encode(client)))
    }

    /// All that is on record of a client, oldest first.
    pub(crate) fn history(&self, client: &str) -> History {
        self.try_history(client).unwrap()
    }

    /// All that is on record of the connections from here which never named a client, oldest first.
    pub(crate) fn nameless_history(&self) -> History {
        self.nameless_history_of(Ipv4Addr::LOCALHOST.into())
    }

    /// The same of those from `address`.
    pub(crate) fn nameless_history_of(&self, address: IpAddr) -> History {
        self.events(&format!("addresses/{address}")).unwrap()
    }

    /// Waits until a client's history has `ends` ended connections.
    pub(crate) fn history_with_ends(&self, client: &str, ends: usize) -> History {
        wait_until(&format!("history of {client} with {ends} ends"), || {
            let history = self.history(client);
            let found = history.items.iter().filter(|event| event.is_end()).count();
            if found == ends { Ok(history) } else { Err(history) }
        })
    }

    /// Waits until a client's connect is on record.
    pub(crate) fn wait_for_connect(&self, client: &str) -> Event {
        wait_until(&format!("connect of {client}"), || {
            let history = self.history(client);
            history.items.iter().rfind(|event| event.action == "connect").cloned().ok_or(history)
        })
    }

    /// Any operation on the server's instance, and what it answers; the code of an error when it is refused.
    pub(crate) fn operate(&self, action: &str, own: &[(&str, &str)]) -> Result<serde_json::Value, String> {
        let answer = get(self.http, &signed_call(&self.credentials(), action, own), &[]).unwrap();
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        if answer.status == 200 { Ok(body) } else { Err(body["Code"].as_str().unwrap().to_owned()) }
    }

    /// `QueryMqttTraceDevice`, as an SDK would send it.
    pub(crate) fn trace_device(&self, client: &str) -> Vec<Row> {
        let answer = get(self.http, &signed_as(&self.credentials(), client), &[]).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let rows: Rows = serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.body));
        assert_eq!((rows.current_page, rows.page_size), (1, 100));
        assert_eq!(rows.total, rows.device_info_list.len());
        rows.device_info_list
    }
}

/// The target of a call of `QueryMqttTraceDevice`, signed by RPC V1 as whoever one claims to be.
pub(crate) fn signed_as(key: &Credentials, client: &str) -> String {
    let (begin, end) = ((now_ms() - 3_600_000).to_string(), (now_ms() + 3_600_000).to_string());
    let own = [
        ("MqttRegionId", "cn-hangzhou"),
        ("ClientId", client),
        ("BeginTime", &begin),
        ("EndTime", &end),
        ("CurrentPage", "1"),
        ("PageSize", "100"),
        ("Reverse", "false"),
    ];
    signed_call(key, "QueryMqttTraceDevice", &own)
}

/// The target of a call of any operation on the key's instance.
pub(crate) fn signed_call(key: &Credentials, action: &str, own: &[(&str, &str)]) -> String {
    static NONCE: AtomicU32 = AtomicU32::new(0);
    let nonce = format!("{}-{}-{}", std::process::id(), now_ms(), NONCE.fetch_add(1, Ordering::Relaxed));
    let timestamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut parameters = BTreeMap::from([
        ("Action", action),
        ("Version", "2020-04-20"),
        ("Format", "JSON"),
        ("AccessKeyId", &key.access_key_id),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", &nonce),
        ("Timestamp", &timestamp),
        ("InstanceId", &key.instance_id),
    ]);
    parameters.extend(own.iter().copied());
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let query = pairs.join("&");
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{}&", key.access_key_secret).as_bytes()).unwrap();
    mac.update(format!("GET&%2F&{}", encode(&query)).as_bytes());
    format!("/?{query}&Signature={}", encode(&BASE64.encode(mac.finalize().into_bytes())))
}
