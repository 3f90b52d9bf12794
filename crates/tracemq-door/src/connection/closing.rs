//! A connection's end: the last bytes, what goes on record, and the time that a client has to read them.

use std::io;
use std::net::Shutdown;
use std::time::Instant;

use bytes::Buf;
use socket2::SockRef;
use tracemq_broker::Closing;
use tracemq_model::{ConnectRequest, Initiator, Observation, Reason, Traffic};

use super::{Connection, READ_BYTES};

/// Bytes thrown away from a client after the server has closed, so that the last packet reaches it before a reset.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

impl Connection {
    /// As much of it as the socket takes at once, so that the record counts it; a slow client is not waited for.
    pub(super) fn send_last_packet(&mut self) {
        let wire = self.transport.wire(&mut self.output);
        if !wire.is_empty()
            && let Ok(n) = self.stream.try_write(wire)
        {
            wire.advance(n);
            self.bytes_out += self.transport.mqtt_in(n);
            self.last_out = Some(Instant::now());
        }
    }

    /// Whether the client is still there, and the server's last words may not have reached it yet.
    pub(super) fn client_may_still_read(&self, closing: &Closing) -> bool {
        match closing {
            // A WebSocket is closed by both sides; our close would meet the client's with a reset.
            Closing::DisconnectReceived { .. } => self.transport.is_websocket(),
            Closing::End(end) if matches!(end.reason, Reason::ServerShutdown | Reason::TlsFailure) => {
                !self.output.is_empty() || self.transport.waiting() > 0
            }
            Closing::End(end) => match end.reason.initiator() {
                Initiator::Server | Initiator::Admin => true,
                Initiator::Client => end.reason == Reason::SessionTakenOver,
                Initiator::Network => false,
            },
        }
    }

    pub(super) fn end(&mut self, closing: Closing) {
        if let Some(facts) = self.transport.facts_so_far() {
            self.observe(Observation::TlsHandshake(facts));
        }
        if let Some(request) = self.link.request() {
            let request = self.under_its_proven_name(request.clone());
            self.observe(Observation::ConnectReceived(request));
        }
        self.observe(match closing {
            Closing::DisconnectReceived { reason_code } => Observation::DisconnectReceived { reason_code },
            Closing::End(end) => Observation::Ended(end),
        });
        self.link.gone(self.shared.house.tick());
    }

    /// Who has shown a certificate is on record under its name, whatever name the CONNECT gives.
    pub(super) fn under_its_proven_name(&self, mut request: ConnectRequest) -> ConnectRequest {
        if let Some(user) = self.transport.user_of_certificate() {
            request.username = Some(user.into());
        }
        request
    }

    pub(super) fn observe(&mut self, observation: Observation) {
        let traffic = self.traffic();
        self.record.observe(observation, Some(traffic));
    }

    fn traffic(&self) -> Traffic {
        let age_ms = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (packets_in, packets_out) = self.link.packets();
        let (last_in_kind, last_out_kind) = self.link.last_packets();
        let (subscriptions, in_flight) = self.link.held().unzip();
        Traffic {
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            packets_in,
            packets_out,
            last_in_age_ms: self.last_in.map(age_ms),
            last_out_age_ms: self.last_out.map(age_ms),
            last_in_kind,
            last_out_kind,
            subscriptions,
            in_flight,
            missed_keep_alives: Some(self.link.missed_keep_alives(self.shared.house.tick())),
        }
    }

    /// Brings the last bytes to the client and closes. Unread bytes in our receive buffer would make the system send
    /// a reset, which can overtake them: so they are read and thrown away, for a bounded time and amount.
    pub(super) async fn linger(self) {
        let Self { stream, mut transport, mut output, shared, place, .. } = self;
        let output = transport.wire(&mut output);
        let last_bytes = async {
            while !output.is_empty() {
                stream.writable().await?;
                match stream.try_write(output) {
                    Ok(n) => output.advance(n),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            SockRef::from(&stream).shutdown(Shutdown::Write)?;
            let mut thrown_away = 0;
            while thrown_away < LINGER_BYTES_MAX {
                stream.readable().await?;
                match stream.try_read(&mut [0; READ_BYTES]) {
                    Ok(0) => break,
                    Ok(n) => thrown_away += n,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        // The end is on record; whether the last bytes arrived changes nothing.
        let _ = tokio::time::timeout(shared.settings.linger_max, last_bytes).await;
        drop(place);
    }
}
