//! The life of one network connection as a state machine: observations in, events out.
//!
//! It owns the promise that history keeps: each connection has at most one `open`, at most one `connect`, and exactly
//! one end; nothing follows an end. Whoever drives it (the door, the relay, another broker's events) only says what it
//! saw.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Action, ClientId, ConnectionId, Details, Event, InstanceId, ProtocolVersion, Provenance, Reason};
use crate::{TimeMs, TlsVersion, Traffic};

/// What is known when TCP has accepted a connection.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whose listener it is.
    pub instance: InstanceId,
    /// The id given to the connection.
    pub connection: ConnectionId,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The listener's name.
    pub listener: Arc<str>,
}

/// What a TLS handshake says of the client, as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version agreed on.
    pub version: Option<TlsVersion>,
    /// The server name asked for (SNI).
    pub server_name: Option<Arc<str>>,
    /// Subject of the client's certificate.
    pub certificate_subject: Option<Arc<str>>,
    /// Who issued it.
    pub certificate_issuer: Option<Arc<str>>,
    /// The last moment at which that certificate is valid.
    pub certificate_not_after: Option<TimeMs>,
}

/// What a CONNECT packet says of its sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The client identifier; none when it is empty (the server may assign one) or can't be an identifier.
    pub client: Option<ClientId>,
    /// The user name.
    pub username: Option<Arc<str>>,
    /// The MQTT version.
    pub protocol: Option<ProtocolVersion>,
    /// Keep alive asked for, in seconds; 0 means off.
    pub keep_alive_s: u16,
    /// Clean session (3.x) or clean start (5.0).
    pub clean_start: bool,
}

/// What a CONNACK with success says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// The client identifier that the server assigned to a client without one, if it told the client (MQTT 5.0).
    pub assigned: Option<ClientId>,
    /// Keep alive in force, in seconds; 0 means off.
    pub keep_alive_s: u16,
    /// Whether an earlier session is resumed.
    pub session_present: bool,
    /// In words: what the client missed while it was away.
    pub detail: Option<Arc<str>>,
}

/// How a connection ended, other than by a DISCONNECT packet of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// CONNACK return code or MQTT 5.0 reason code sent to the client with it, if one was.
    pub reason_code: Option<u8>,
    /// In words: which packet, which rule, which topic.
    pub detail: Option<Arc<str>>,
    /// The newer connection, when a takeover ended this one.
    pub other_connection: Option<ConnectionId>,
}

impl End {
    /// An end of which no more is known than its reason.
    pub fn of(reason: Reason) -> Self {
        Self { reason, reason_code: None, detail: None, other_connection: None }
    }

    /// The same with a text, cut to [`Details::TEXT_MAX_BYTES`].
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = Some(Details::text(detail));
        self
    }

    /// The same with the code that was sent.
    #[must_use]
    pub fn with_code(mut self, reason_code: u8) -> Self {
        self.reason_code = Some(reason_code);
        self
    }
}

/// Something seen on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The client is still silent, or in the middle of its CONNECT, a moment after the TCP accept.
    Waiting,
    /// A trusted proxy told the client's own address.
    ProxyHeader {
        /// The client's address, as the proxy saw it.
        client: SocketAddr,
    },
    /// A TLS handshake is over, well or not.
    TlsHandshake(TlsFacts),
    /// A CONNECT packet was read.
    ConnectReceived(ConnectRequest),
    /// CONNACK with success was sent.
    ConnectAccepted(Acceptance),
    /// A DISCONNECT packet was received, with its MQTT 5.0 reason code if it had one.
    DisconnectReceived {
        /// MQTT 5.0 reason code.
        reason_code: Option<u8>,
    },
    /// The connection ended in any other way.
    Ended(End),
}

/// What a connection had been through at the moment of an observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Milliseconds since the TCP accept, by a clock that does not step.
    pub duration_ms: u64,
    /// What had passed; none when whoever observes can't tell.
    pub traffic: Option<Traffic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opened,
    Waiting,
    Connected,
    Ended,
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Lifecycle {
    opening: Opening,
    stage: Stage,
    /// Of the last event. The wall clock may step back; a connection does not end before it began.
    last: TimeMs,
    request: Option<Box<ConnectRequest>>,
    tls: Option<Box<TlsFacts>>,
}

impl Lifecycle {
    /// A connection that TCP has just accepted.
    pub fn new(opening: Opening) -> Self {
        Self { opening, stage: Stage::Opened, last: TimeMs::MIN, request: None, tls: None }
    }

    /// What was known at the accept.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Whether the end is on record; whatever is observed later gives no event.
    pub fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Takes in what was seen at `time`, and gives the event that it makes, if it makes one.
    ///
    /// When the clock has stepped back since the last event, the new one gets that one's time; how long the connection
    /// was open is in the event's duration, which comes from a clock that does not step.
    pub fn observe(&mut self, time: TimeMs, observation: Observation, meter: &Meter) -> Option<Event> {
        let event = self.react(time.max(self.last), observation, meter)?;
        self.last = event.time;
        Some(event)
    }

    fn react(&mut self, time: TimeMs, observation: Observation, meter: &Meter) -> Option<Event> {
        match (self.stage, observation) {
            (Stage::Ended, _) | (Stage::Waiting | Stage::Connected, Observation::Waiting) => None,
            (Stage::Opened | Stage::Waiting | Stage::Connected, Observation::ProxyHeader { client }) => {
                self.opening.peer = client;
                None
            }
            (Stage::Opened | Stage::Waiting | Stage::Connected, Observation::TlsHandshake(facts)) => {
                self.tls = Some(Box::new(facts));
                None
            }
            (Stage::Opened, Observation::Waiting) => {
                self.stage = Stage::Waiting;
                Some(self.event(time, Action::Open, Reason::Opened))
            }
            (Stage::Connected, Observation::ConnectReceived(_) | Observation::ConnectAccepted(_)) => None,
            (Stage::Opened | Stage::Waiting, Observation::ConnectReceived(request)) => {
                self.request = Some(Box::new(request));
                None
            }
            (Stage::Opened | Stage::Waiting, Observation::ConnectAccepted(acceptance)) => {
                self.stage = Stage::Connected;
                Some(self.connected(time, acceptance))
            }
            (Stage::Opened | Stage::Waiting | Stage::Connected, Observation::DisconnectReceived { reason_code }) => {
                let end = End { reason_code, ..End::of(Reason::ClientDisconnected) };
                Some(self.ended(time, Action::Disconnect, end, meter))
            }
            (Stage::Opened | Stage::Waiting | Stage::Connected, Observation::Ended(end)) => {
                Some(self.ended(time, Action::Close, end, meter))
            }
        }
    }

    fn connected(&mut self, time: TimeMs, acceptance: Acceptance) -> Event {
        let request = self.request.get_or_insert_default();
        request.keep_alive_s = acceptance.keep_alive_s;
        if acceptance.assigned.is_some() {
            request.client = acceptance.assigned;
        }
        let mut event = self.event(time, Action::Connect, Reason::Accepted);
        event.details.session_present = Some(acceptance.session_present);
        event.details.reason_code = Some(0);
        event.details.detail = acceptance.detail;
        event
    }

    fn ended(&mut self, time: TimeMs, action: Action, end: End, meter: &Meter) -> Event {
        self.stage = Stage::Ended;
        let mut event = self.event(time, action, end.reason);
        event.details.reason_code = end.reason_code;
        event.details.detail = end.detail;
        event.details.other_connection = end.other_connection;
        event.details.duration_ms = Some(meter.duration_ms);
        event.details.traffic = meter.traffic;
        event
    }

    fn event(&self, time: TimeMs, action: Action, reason: Reason) -> Event {
        let request = self.request.as_deref();
        let tls = self.tls.as_deref();
        Event {
            time,
            instance: self.opening.instance.clone(),
            connection: self.opening.connection,
            action,
            reason,
            provenance: Provenance::Observed,
            client: request.and_then(|r| r.client.clone()),
            peer: Some(self.opening.peer),
            details: Details {
                listener: Some(Arc::clone(&self.opening.listener)),
                protocol: request.and_then(|r| r.protocol),
                username: request.and_then(|r| r.username.as_deref()).map(Details::text),
                keep_alive_s: request.map(|r| r.keep_alive_s),
                clean_start: request.map(|r| r.clean_start),
                tls_version: tls.and_then(|tls| tls.version),
                server_name: tls.and_then(|tls| tls.server_name.as_deref()).map(Details::text),
                certificate_subject: tls.and_then(|tls| tls.certificate_subject.as_deref()).map(Details::text),
                certificate_issuer: tls.and_then(|tls| tls.certificate_issuer.as_deref()).map(Details::text),
                certificate_not_after: tls.and_then(|tls| tls.certificate_not_after),
                ..Details::default()
            },
        }
    }
}

/// The end of a connection that was open when the server died, concluded from its `beginning` (an open or connect
/// event) at the next start. `last_alive` is the last moment at which the server is known to have run.
pub fn close_orphan(beginning: &Event, last_alive: TimeMs) -> Event {
    let time = last_alive.max(beginning.time);
    Event {
        time,
        action: Action::Close,
        reason: Reason::ServerLost,
        provenance: Provenance::Inferred,
        details: Details {
            reason_code: None,
            session_present: None,
            detail: Some("the server stopped without closing; the time is the last at which it was alive".into()),
            duration_ms: Some(time.since(beginning.time)),
            traffic: None,
            ..beginning.details.clone()
        },
        ..beginning.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opening() -> Opening {
        Opening {
            instance: InstanceId::new("mqtt-local").unwrap(),
            connection: ConnectionId(7),
            peer: "192.0.2.1:4242".parse().unwrap(),
            listener: "mqtt".into(),
        }
    }

    fn request() -> ConnectRequest {
        ConnectRequest {
            client: Some(ClientId::new("pump-07").unwrap()),
            username: Some("ops".into()),
            protocol: Some(ProtocolVersion::V311),
            keep_alive_s: 60,
            clean_start: true,
        }
    }

    fn run(observations: impl IntoIterator<Item = Observation>) -> Vec<Event> {
        run_at((0..).zip(observations))
    }

    fn run_at(observations: impl Iterator<Item = (i64, Observation)>) -> Vec<Event> {
        let mut lifecycle = Lifecycle::new(opening());
        observations
            .filter_map(|(time, observation)| lifecycle.observe(TimeMs(time), observation, &Meter::default()))
            .collect()
    }

    fn summary(events: &[Event]) -> Vec<(Action, Reason)> {
        events.iter().map(|e| (e.action, e.reason)).collect()
    }

    #[test]
    fn an_ordinary_connection_has_two_events() {
        let events = run([
            Observation::ConnectReceived(request()),
            Observation::ConnectAccepted(Acceptance { keep_alive_s: 30, ..Acceptance::default() }),
            Observation::DisconnectReceived { reason_code: Some(4) },
            Observation::Ended(End::of(Reason::ClientClosed)),
        ]);
        assert_eq!(
            summary(&events),
            [(Action::Connect, Reason::Accepted), (Action::Disconnect, Reason::ClientDisconnected)]
        );
        assert!(events.iter().all(|e| e.client.as_ref().is_some_and(|c| c.as_str() == "pump-07")));
        assert_eq!(events[0].details.keep_alive_s, Some(30));
        assert_eq!(events[1].details.reason_code, Some(4));
    }

    #[test]
    fn a_silent_connection_has_an_open_and_a_close() {
        let events = run([Observation::Waiting, Observation::Ended(End::of(Reason::ConnectTimeout))]);
        assert_eq!(summary(&events), [(Action::Open, Reason::Opened), (Action::Close, Reason::ConnectTimeout)]);
        assert_eq!(events[1].client, None);
    }

    #[test]
    fn a_refused_connect_has_one_row_that_names_the_client() {
        let refusal = End::of(Reason::BadCredentials).with_code(4);
        let events = run([Observation::ConnectReceived(request()), Observation::Ended(refusal)]);
        assert_eq!(summary(&events), [(Action::Close, Reason::BadCredentials)]);
        assert!(events[0].client.is_some());
        assert_eq!(events[0].details.reason_code, Some(4));
    }

    #[test]
    fn an_assigned_client_id_names_the_connection() {
        let anonymous = ConnectRequest { client: None, ..request() };
        let assigned = ClientId::new("auto-1").unwrap();
        let events = run([
            Observation::ConnectReceived(anonymous),
            Observation::ConnectAccepted(Acceptance { assigned: Some(assigned.clone()), ..Acceptance::default() }),
            Observation::Ended(End::of(Reason::ClientClosed)),
        ]);
        assert!(events.iter().all(|e| e.client.as_ref() == Some(&assigned)));
    }

    #[test]
    fn an_orphan_ends_when_the_server_was_last_alive_and_never_before_it_began() {
        let mut lifecycle = Lifecycle::new(opening());
        let connect =
            lifecycle.observe(TimeMs(100), Observation::ConnectAccepted(Acceptance::default()), &Meter::default());
        let connect = connect.unwrap();
        let end = close_orphan(&connect, TimeMs(250));
        assert_eq!((end.time, end.action, end.reason), (TimeMs(250), Action::Close, Reason::ServerLost));
        assert_eq!((end.provenance, end.details.duration_ms), (Provenance::Inferred, Some(150)));
        assert_eq!(close_orphan(&connect, TimeMs(1)).time, TimeMs(100));
    }

    #[test]
    fn what_the_ways_in_told_stands_on_every_later_event() {
        let facts = TlsFacts {
            version: Some(TlsVersion::V13),
            server_name: Some("mqtt.example".into()),
            certificate_subject: Some("CN=pump-07".into()),
            certificate_issuer: Some("CN=fleet".into()),
            certificate_not_after: Some(TimeMs(99)),
        };
        let client: SocketAddr = "198.51.100.7:50000".parse().unwrap();
        let events = run([
            Observation::Waiting,
            Observation::ProxyHeader { client },
            Observation::TlsHandshake(facts),
            Observation::ConnectReceived(request()),
            Observation::ConnectAccepted(Acceptance::default()),
            Observation::Ended(End::of(Reason::ClientClosed)),
        ]);
        assert_eq!((events[0].peer, events[0].details.tls_version), (Some("192.0.2.1:4242".parse().unwrap()), None));
        for event in &events[1..] {
            assert_eq!((event.peer, event.details.tls_version), (Some(client), Some(TlsVersion::V13)));
            assert_eq!(event.details.server_name.as_deref(), Some("mqtt.example"));
            assert_eq!(event.details.certificate_subject.as_deref(), Some("CN=pump-07"));
            assert_eq!(event.details.certificate_issuer.as_deref(), Some("CN=fleet"));
            assert_eq!(event.details.certificate_not_after, Some(TimeMs(99)));
        }
    }

    fn any_observation() -> impl Strategy<Value = Observation> {
        prop_oneof![
            Just(Observation::Waiting),
            Just(Observation::ConnectReceived(request())),
            Just(Observation::ConnectAccepted(Acceptance::default())),
            proptest::option::of(any::<u8>()).prop_map(|reason_code| Observation::DisconnectReceived { reason_code }),
            proptest::sample::select(Reason::ALL).prop_map(|reason| Observation::Ended(End::of(reason))),
        ]
    }

    proptest! {
        /// Whatever is seen in whatever order: at most one end, nothing after it, beginnings before it and at most
        /// once each; and once any end was seen there is exactly one.
        #[test]
        fn one_end_for_each_beginning(
            observations in proptest::collection::vec(any_observation(), 0..24),
            times in proptest::collection::vec(any::<i64>(), 24),
        ) {
            let saw_end = observations.iter().any(|o| {
                matches!(o, Observation::DisconnectReceived { .. } | Observation::Ended(_))
            });
            let events = run_at(times.into_iter().zip(observations));
            let ends = events.iter().filter(|e| e.action.is_end()).count();
            prop_assert_eq!(ends, usize::from(saw_end));
            if let Some(at) = events.iter().position(|e| e.action.is_end()) {
                prop_assert_eq!(at, events.len() - 1);
            }
            for action in [Action::Open, Action::Connect] {
                prop_assert!(events.iter().filter(|e| e.action == action).count() <= 1);
            }
            prop_assert!(events.windows(2).all(|pair| pair[0].time <= pair[1].time));
            prop_assert!(events.iter().all(|e| e.connection == ConnectionId(7)));
        }
    }
}
