//! Requests as SDKs sign them, open to be spoiled before they are sent.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tracemq_access::params::{Params, encode};
use tracemq_access::signature::{acs3, rpc_v1};

/// A request, every byte of it at hand.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// The header replaced, or taken out.
    pub(crate) fn set(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    pub(crate) fn value(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).unwrap();
        String::from_utf8(found.1.clone()).unwrap()
    }

    /// The same with a text of the target replaced; it must be there.
    pub(crate) fn target_with(mut self, from: &str, to: &str) -> Self {
        assert!(self.target.contains(from), "{from} in {}", self.target);
        self.target = self.target.replacen(from, to, 1);
        self
    }

    /// As bytes on a socket.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let length = ("Content-Length".to_owned(), self.body.len().to_string().into_bytes());
        for (name, value) in self.headers.iter().chain([&length]) {
            bytes.extend(format!("{name}: ").bytes());
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn query(pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// Where parameters stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Query,
    Form,
    /// What belongs to the operation in the form, what belongs to the signature in the query.
    Mixed,
}

/// Who signs, and when.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) nonce: String,
    pub(crate) timestamp: String,
    pub(crate) action: String,
    pub(crate) version: String,
    /// Added to the parameters, or put in place of them.
    pub(crate) extra: Vec<(String, Option<String>)>,
}

impl Signer {
    pub(crate) fn new(key_id: &str, secret: &str, now_ms: i64) -> Self {
        static NONCE: AtomicU64 = AtomicU64::new(0);
        let timestamp = date(now_ms);
        Self {
            key_id: key_id.into(),
            secret: secret.into(),
            token: None,
            nonce: format!("nonce-{}", NONCE.fetch_add(1, Ordering::Relaxed)),
            timestamp,
            action: "QueryMqttTraceDevice".into(),
            version: "2020-04-20".into(),
            extra: Vec::new(),
        }
    }

    /// A parameter of the signature set, or with none left out.
    pub(crate) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.extra.push((name.to_owned(), value.map(str::to_owned)));
        self
    }

    fn system_parameters(&self) -> Vec<(String, String)> {
        let mut system = pairs(&[
            ("Action", &self.action),
            ("Version", &self.version),
            ("Format", "JSON"),
            ("AccessKeyId", &self.key_id),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", &self.nonce),
            ("Timestamp", &self.timestamp),
        ]);
        system.extend(self.token.iter().map(|token| ("SecurityToken".to_owned(), token.clone())));
        for (name, value) in &self.extra {
            system.retain(|(known, _)| known != name);
            system.extend(value.iter().map(|value| (name.clone(), value.clone())));
        }
        system
    }

    /// RPC V1, by GET with all in the query.
    pub(crate) fn v1(&self, parameters: &[(String, String)]) -> Wire {
        self.v1_at("GET", Place::Query, parameters)
    }

    pub(crate) fn v1_at(&self, method: &str, place: Place, parameters: &[(String, String)]) -> Wire {
        let mut system = self.system_parameters();
        let all: Vec<_> = system.iter().chain(parameters).cloned().collect();
        let canonical = Params::parse(query(&all).as_bytes()).unwrap();
        let signature = rpc_v1::sign(&self.secret, &rpc_v1::string_to_sign(method, &canonical));
        system.push(("Signature".into(), signature));
        let (in_query, in_form) = match place {
            Place::Query => ([system, parameters.to_vec()].concat(), vec![]),
            Place::Form => (vec![], [system, parameters.to_vec()].concat()),
            Place::Mixed => (system, parameters.to_vec()),
        };
        let target = if in_query.is_empty() { "/".into() } else { format!("/?{}", query(&in_query)) };
        let wire = Wire { method: method.into(), target, headers: vec![], body: query(&in_form).into_bytes() };
        let wire = wire.header("Host", "127.0.0.1:8080");
        if in_form.is_empty() { wire } else { wire.header("Content-Type", "application/x-www-form-urlencoded") }
    }

    /// ACS3, by POST with the operation's parameters in the query.
    pub(crate) fn v3(&self, parameters: &[(String, String)]) -> Wire {
        let target = format!("/?{}", query(parameters));
        let wire = Wire { method: "POST".into(), target, headers: vec![], body: vec![] };
        let mut wire = wire
            .header("Host", "127.0.0.1:8080")
            .header("x-acs-action", &self.action)
            .header("x-acs-version", &self.version)
            .header("x-acs-date", &self.timestamp)
            .header("x-acs-signature-nonce", &self.nonce)
            .header("x-acs-content-sha256", &hex(b""))
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            wire = wire.header("x-acs-accesskey-id", &self.key_id).header("x-acs-security-token", token);
        }
        self.sign_v3(wire)
    }

    /// Signs all headers of `wire` anew.
    pub(crate) fn sign_v3(&self, wire: Wire) -> Wire {
        let mut names: Vec<_> = wire.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.retain(|name| name != "authorization");
        names.sort();
        names.dedup();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        self.sign_v3_over(wire, &names)
    }

    /// Signs the headers called `names`, in that order.
    pub(crate) fn sign_v3_over(&self, wire: Wire, names: &[&str]) -> Wire {
        let hash = wire.headers.iter().find(|(name, _)| name == "x-acs-content-sha256");
        let hash = hash.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
        self.sign_v3_with_hash(wire, names, &hash)
    }

    /// Signs with `hash` for the body, whatever the header says.
    pub(crate) fn sign_v3_with_hash(&self, wire: Wire, names: &[&str], hash: &str) -> Wire {
        let (path, query) = wire.target.split_once('?').unwrap_or((&wire.target, ""));
        let canonical_query = Params::parse(query.as_bytes()).unwrap().canonical(None);
        let value = |name: &str| {
            let found = wire.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| String::from_utf8_lossy(value).trim().to_owned()).unwrap_or_default()
        };
        let lines: String = names.iter().map(|name| format!("{name}:{}\n", value(name))).collect();
        let list = names.join(";");
        let canonical = format!("{}\n{path}\n{canonical_query}\n{lines}\n{list}\n{hash}", wire.method);
        let signature = acs3::sign(&self.secret, &acs3::string_to_sign(&canonical));
        let authorization =
            format!("ACS3-HMAC-SHA256 Credential={},SignedHeaders={list},Signature={signature}", self.key_id);
        wire.set("Authorization", Some(&authorization))
    }
}

/// A moment as signatures have it.
pub(crate) fn date(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// SHA-256 in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
