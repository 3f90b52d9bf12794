//! The MQTT listeners of the configuration, bound and turned into doors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tracemq_broker::{Broker, Limits};
use tracemq_door::{
    Certificates, ClientCertificates, Door, DoorSettings, Guard, House, Network, TlsFiles, WebSocketRules,
};
use tracemq_model::InstanceId;

use super::{http, server};
use crate::config::{ClientCertificate, Config, DEFAULT_LISTENER, Listener, Tls, UsernameFrom};

/// A listener that is bound.
pub(super) struct Bound {
    listener: Listener,
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Certificates>,
}

/// Doors that do not accept yet, and the certificates of those that have some, by the listener's name.
pub(super) struct WaysIn {
    pub(super) doors: Vec<Door>,
    pub(super) certificates: Vec<(String, Certificates)>,
}

/// Where a listener listens.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// Its name.
    pub name: String,
    /// Its address, with the port that port 0 picked.
    pub address: SocketAddr,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
}

/// Reads the certificates of all listeners and binds their addresses.
///
/// # Errors
/// When an address can't be had or certificates can't be used: with the listener's name.
pub(super) fn bind(config: &Config) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for listener in config.listeners() {
        let advice = if listener.name == DEFAULT_LISTENER {
            "Choose another with --mqtt ADDR, port 0 picks a free one"
        } else {
            "Choose another in [[mqtt.listeners]], port 0 picks a free one"
        };
        let tls = certificates(&listener)?;
        let socket = server::bind(listener.listen, &listener.name, advice)?;
        let address = socket.local_addr()?;
        bound.push(Bound { listener, socket, address, tls });
    }
    Ok(bound)
}

/// Where they listen.
pub(super) fn told(bound: &[Bound]) -> Vec<Listening> {
    let told = |Bound { listener, address, .. }: &Bound| Listening {
        name: listener.name.clone(),
        address: *address,
        transport: listener.transport.word(),
    };
    bound.iter().map(told).collect()
}

/// A door for each, with `guard` at it, to the broker of its instance. `limits` are those of `mqtt`.
///
/// # Errors
/// When a network of proxies is none.
pub(super) fn doors(
    config: &Config,
    bound: Vec<Bound>,
    house: &Arc<House>,
    guard: &Arc<Guard>,
    brokers: &BTreeMap<InstanceId, Arc<Broker>>,
    limits: &Limits,
) -> anyhow::Result<WaysIn> {
    let (mut doors, mut certificates) = (Vec::new(), Vec::new());
    for Bound { listener, socket, tls, .. } in bound {
        let instance = listener.instance.as_ref().unwrap_or(&config.instance.id);
        let broker = brokers.get(instance).context("an instance has no broker")?;
        let proxies = proxies(&listener)?;
        let limits = own_limits(&listener, limits);
        let of_address = listener.max_connections_per_address.unwrap_or(config.mqtt.max_connections_per_address);
        certificates.extend(tls.clone().map(|tls| (listener.name.clone(), tls)));
        let settings = DoorSettings {
            anonymous: config.anonymous(&listener),
            proxies,
            tls,
            websocket: listener.transport.is_websocket().then(|| rules(&listener)),
            frame_bytes_max: u64::from(limits.packet_bytes_max),
            connections_per_address_max: NonZeroUsize::new(of_address),
            limits: Some(Arc::new(limits)),
            connections_max: listener.max_connections.unwrap_or(config.mqtt.max_connections),
            ..DoorSettings::new(instance.clone(), &listener.name)
        };
        doors.push(Door::new(socket, Arc::clone(house), Arc::clone(broker), Arc::clone(guard), settings));
    }
    Ok(WaysIn { doors, certificates })
}

/// What holds for each connection at `listener`: its own limits, and `limits` where it has none.
fn own_limits(listener: &Listener, limits: &Limits) -> Limits {
    let of_address = listener.max_connects_per_address_per_s;
    Limits {
        connect_timeout_ms: listener.connect_timeout_s.map_or(limits.connect_timeout_ms, |seconds| seconds * 1_000),
        connects_per_s_max: listener.max_connects_per_s.unwrap_or(limits.connects_per_s_max),
        connects_per_address_per_s_max: of_address.unwrap_or(limits.connects_per_address_per_s_max),
        packet_bytes_max: listener.max_packet_bytes.unwrap_or(limits.packet_bytes_max),
        inflight_max: listener.max_inflight.unwrap_or(limits.inflight_max),
        keep_alive_s_max: listener.max_keep_alive_s.unwrap_or(limits.keep_alive_s_max),
        ..limits.clone()
    }
}

/// Reads the certificates of all listeners, that of HTTP too.
///
/// # Errors
/// When one can't be used: with the listener's name and the file.
pub(crate) fn check_certificates(config: &Config) -> anyhow::Result<()> {
    config.listeners().iter().try_for_each(|listener| certificates(listener).map(drop))?;
    http::certificates(config).map(drop)
}

fn certificates(listener: &Listener) -> anyhow::Result<Option<Certificates>> {
    let load = |tls| Certificates::load(files(tls)?).with_context(|| format!("mqtt.listeners `{}`", listener.name));
    listener.tls.as_ref().map(load).transpose()
}

fn proxies(listener: &Listener) -> anyhow::Result<Option<Arc<[Network]>>> {
    if !listener.proxy_protocol {
        return Ok(None);
    }
    let networks = listener.trusted_proxies.iter().map(|text| text.parse());
    Ok(Some(networks.collect::<Result<Vec<_>, _>>().context("trusted_proxies")?.into()))
}

pub(super) fn files(tls: &Tls) -> anyhow::Result<TlsFiles> {
    let ca = || tls.client_ca.clone().context("tls.client_ca is missing");
    Ok(TlsFiles {
        cert: tls.cert.clone(),
        key: tls.key.clone(),
        clients: match tls.client_certificate {
            ClientCertificate::None => ClientCertificates::Unasked,
            ClientCertificate::Optional => ClientCertificates::Optional(ca()?),
            ClientCertificate::Required => ClientCertificates::Required(ca()?),
        },
        user_is_common_name: tls.username_from == Some(UsernameFrom::CommonName),
    })
}

fn rules(listener: &Listener) -> WebSocketRules {
    let websocket = listener.websocket.clone().unwrap_or_default();
    WebSocketRules { path: websocket.path.into(), origins: websocket.origins.into() }
}
