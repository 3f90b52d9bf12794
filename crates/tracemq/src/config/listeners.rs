//! `[[mqtt.listeners]]`: the ways in, each with its own address, transport and instance.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracemq_access::mqtt::Anonymous;
use tracemq_door::Network;
use tracemq_model::InstanceId;

use super::Config;
use super::check::Faults;

/// The name of the one listener that is there without `[[mqtt.listeners]]`.
pub(crate) const DEFAULT_LISTENER: &str = "mqtt";

/// A listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// Its name on record.
    pub name: String,
    /// Address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// What MQTT travels in.
    #[serde(default)]
    pub transport: Transport,
    /// The instance that its clients come to; none is `instance.id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Connections held at once; none is `mqtt.max_connections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// Of them from one address, 0 for no bound; none is `mqtt.max_connections_per_address`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_per_address: Option<usize>,
    /// From the TCP accept to a whole CONNECT, TLS and WebSocket included; none is `mqtt.connect_timeout_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout_s: Option<u64>,
    /// CONNECTs a second, 0 for no bound; none is `mqtt.max_connects_per_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connects_per_s: Option<u32>,
    /// The same from one address; none is `mqtt.max_connects_per_address_per_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connects_per_address_per_s: Option<u32>,
    /// Largest packet taken; none is `mqtt.max_packet_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_packet_bytes: Option<u32>,
    /// Messages of QoS 1 and 2 under way to one client; none is `mqtt.max_inflight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_inflight: Option<u16>,
    /// Longest keep alive granted to MQTT 5.0 clients; none is `mqtt.max_keep_alive_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_keep_alive_s: Option<u16>,
    /// Lets clients in without user name; none is `mqtt.allow_anonymous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_anonymous: Option<bool>,
    /// Whether each connection begins with a PROXY protocol header.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Who may send that header: addresses and networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Certificate and key, and whose certificates are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Path and origins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<WebSocket>,
}

/// What MQTT travels in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// TCP alone.
    #[default]
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// As it stands in the configuration.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Certificate and key, and whose certificates are taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The certificate and those up to its CA, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Who signs clients' certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// Where the user name comes from when a certificate is shown; none is the CONNECT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_from: Option<UsernameFrom>,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientCertificate {
    /// Not asked for.
    #[default]
    None,
    /// Asked for; one that is shown must be good.
    Optional,
    /// Without a good one nobody comes in.
    Required,
}

/// Where the user name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UsernameFrom {
    /// The common name of the client's certificate.
    CommonName,
}

/// Path and origins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebSocket {
    /// The path of the upgrade request.
    pub path: String,
    /// Web pages that may connect, such as `https://fleet.example`; any when empty.
    pub origins: Vec<String>,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self { path: "/mqtt".into(), origins: Vec::new() }
    }
}

impl Config {
    /// The ways in: those of `[[mqtt.listeners]]`, or the one of `mqtt.listen`.
    pub(crate) fn listeners(&self) -> Vec<Listener> {
        if !self.mqtt.listeners.is_empty() {
            return self.mqtt.listeners.clone();
        }
        vec![Listener {
            name: DEFAULT_LISTENER.into(),
            listen: self.mqtt.listen,
            transport: Transport::Tcp,
            instance: None,
            max_connections: None,
            max_connections_per_address: None,
            connect_timeout_s: None,
            max_connects_per_s: None,
            max_connects_per_address_per_s: None,
            max_packet_bytes: None,
            max_inflight: None,
            max_keep_alive_s: None,
            allow_anonymous: None,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            tls: None,
            websocket: None,
        }]
    }

    /// Every instance that there is, that of `instance.id` first.
    pub(crate) fn instances(&self) -> Vec<InstanceId> {
        let mut instances = vec![self.instance.id.clone()];
        for instance in self.mqtt.listeners.iter().filter_map(|listener| listener.instance.as_ref()) {
            if !instances.contains(instance) {
                instances.push(instance.clone());
            }
        }
        instances
    }

    /// Whether `listener` lets clients in without a user name: where that is said, and, as long as there are no users,
    /// where nobody comes from another machine, or only with a certificate.
    pub(crate) fn anonymous(&self, listener: &Listener) -> Anonymous {
        let required = |tls: &Tls| tls.client_certificate == ClientCertificate::Required;
        let is_kept = listener.tls.as_ref().is_some_and(required)
            || (listener.listen.ip().is_loopback() && !listener.proxy_protocol);
        match listener.allow_anonymous {
            Some(true) => Anonymous::Yes,
            Some(false) => Anonymous::No,
            None if self.mqtt.allow_anonymous => Anonymous::Yes,
            None if is_kept => Anonymous::WhileNobodyIsKnown,
            None => Anonymous::No,
        }
    }
}

pub(super) fn check(faults: &mut Faults, config: &Config) {
    let listeners = config.listeners();
    for (at, listener) in listeners.iter().enumerate() {
        let key = if config.mqtt.listeners.is_empty() {
            "mqtt".to_owned()
        } else {
            format!("mqtt.listeners `{}`", listener.name.escape_debug())
        };
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=64).contains(&listener.name.len()) || !listener.name.bytes().all(word) {
            faults.add(format!("{key}: name: is not 1 to 64 of A-Z a-z 0-9 - _ ."));
        }
        if listeners.iter().take(at).any(|other| other.name == listener.name) {
            faults.add(format!("{key}: name: there are two listeners of this name"));
        }
        check_limits(faults, &key, listener);
        let nobody_is_known = !config.mqtt.asks_for_passwords() && config.access_keys.is_empty();
        if nobody_is_known && listener.allow_anonymous.is_none() && config.anonymous(listener) == Anonymous::No {
            let whence = if listener.proxy_protocol { "through a proxy" } else { "from other machines" };
            faults.add(format!(
                "{key}.listen: {} can be reached {whence}, and nobody is asked for a password there. \
                 Set mqtt.users_file to a file that `tracemq passwd` makes, or set mqtt.allow_anonymous = true",
                listener.listen
            ));
        }
        check_transport(faults, &key, listener);
        check_proxy(faults, &key, listener);
    }
}

/// The same bounds as those of `mqtt`.
fn check_limits(faults: &mut Faults, key: &str, listener: &Listener) {
    let max_connections = listener.max_connections.unwrap_or(1);
    faults.within(&format!("{key}: max_connections"), max_connections, 1, 10_000_000);
    let of_address = listener.max_connections_per_address.unwrap_or(0);
    faults.within(&format!("{key}: max_connections_per_address"), of_address, 0, 10_000_000);
    faults.within(&format!("{key}: connect_timeout_s"), listener.connect_timeout_s.unwrap_or(1), 1, 3_600);
    faults.within(&format!("{key}: max_packet_bytes"), listener.max_packet_bytes.unwrap_or(128), 128, 268_435_455);
    faults.within(&format!("{key}: max_inflight"), listener.max_inflight.unwrap_or(1), 1, u16::MAX);
    faults.within(&format!("{key}: max_keep_alive_s"), listener.max_keep_alive_s.unwrap_or(5), 5, u16::MAX);
}

fn check_transport(faults: &mut Faults, key: &str, listener: &Listener) {
    let word = listener.transport.word();
    match (&listener.tls, listener.transport.is_tls()) {
        (None, true) => faults.add(format!("{key}: transport = \"{word}\" needs tls = {{ cert = ..., key = ... }}")),
        (Some(_), false) => faults.add(format!("{key}: tls is for transport \"tls\" and \"wss\", not for \"{word}\"")),
        (Some(tls), true) => check_tls(faults, key, tls),
        (None, false) => {}
    }
    if let Some(websocket) = &listener.websocket {
        if !listener.transport.is_websocket() {
            faults.add(format!("{key}: websocket is for transport \"ws\" and \"wss\", not for \"{word}\""));
        }
        if !websocket.path.starts_with('/') || websocket.path.contains(['?', '#', ' ']) {
            faults.add(format!("{key}: websocket.path: must begin with / and hold no ?, # or space"));
        }
        for origin in websocket.origins.iter().filter(|origin| !origin.contains("://") || origin.ends_with('/')) {
            let origin = origin.escape_debug();
            faults.add(format!("{key}: websocket.origins: `{origin}` is no origin such as https://fleet.example"));
        }
    }
}

pub(super) fn check_tls(faults: &mut Faults, key: &str, tls: &Tls) {
    let asks = tls.client_certificate != ClientCertificate::None;
    if asks && tls.client_ca.is_none() {
        faults.add(format!("{key}: tls.client_certificate needs tls.client_ca, the CA that signs them"));
    }
    if !asks && tls.client_ca.is_some() {
        faults.add(format!("{key}: tls.client_ca is there, and tls.client_certificate asks nobody for one"));
    }
    if !asks && tls.username_from.is_some() {
        faults.add(format!("{key}: tls.username_from needs tls.client_certificate = \"required\" or \"optional\""));
    }
}

fn check_proxy(faults: &mut Faults, key: &str, listener: &Listener) {
    if listener.proxy_protocol && listener.trusted_proxies.is_empty() {
        faults.add(format!("{key}: proxy_protocol needs trusted_proxies, the addresses that the proxy connects from"));
    }
    if !listener.proxy_protocol && !listener.trusted_proxies.is_empty() {
        faults.add(format!("{key}: trusted_proxies is there without proxy_protocol = true"));
    }
    for text in listener.trusted_proxies.iter().filter(|text| text.parse::<Network>().is_err()) {
        let text = text.escape_debug();
        faults.add(format!("{key}: trusted_proxies: `{text}` is no address or network such as 10.0.0.0/8"));
    }
}
