//! What the server itself and one client say to each other: messages that are routed to nobody.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use bytestring::ByteString;
use tracemq_model::{End, Reason};

use super::step::{Heard, Notice, Refused, Wanted};
use super::{Link, Stage};
use crate::broker::Counters;
use crate::packet::{Delivery, Message, Outgoing, Publish, Qos};
use crate::rules::Fault;
use crate::session::Naming;

impl Link {
    /// Writes a notice, unless the client does not take one of its size.
    fn tell(&mut self, notice: &Notice, output: &mut BytesMut) {
        let Stage::Connected(connected) = &self.stage else { return };
        let (version, packet_bytes_max) = (connected.version, connected.packet_bytes_max);
        let message = Message {
            topic: ByteString::from_static(notice.topic),
            payload: notice.payload.clone(),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry_s: None,
            properties: None,
            trace: None,
            kept: OnceLock::new(),
        };
        let packet = Outgoing::Publish(Delivery {
            message: &message,
            qos: Qos::AtMostOnce,
            packet_id: 0,
            dup: false,
            retain: false,
            expiry_s: None,
            subscription_ids: &[],
            naming: Naming::Name,
        });
        let sent = self.send(version, packet_bytes_max, &packet, output);
        let counters = self.broker.counters();
        if sent {
            Counters::add(&counters.sent, 1);
            Counters::add(&counters.payload_out, u64::try_from(notice.payload.len()).unwrap_or(u64::MAX));
        } else {
            Counters::add(&counters.dropped, 1);
        }
    }

    /// The notices that others left.
    pub(super) fn tell_what_waits(&mut self, output: &mut BytesMut) {
        if matches!(self.stage, Stage::Connected(_)) {
            for notice in self.mailbox.take_notices() {
                self.tell(&notice, output);
            }
        }
    }

    /// A PUBLISH to a topic by which clients speak to the server.
    pub(super) fn hear(&mut self, publish: Publish, output: &mut BytesMut) -> Result<(), Fault> {
        let permissions = Arc::clone(&self.connected()?.permissions);
        let topic = &publish.message.topic;
        match permissions.hear(topic, &publish.message.payload) {
            Heard::No => {
                let detail = format!("PUBLISH: topic name {:?} is the server's own [MQTT-4.7.2-1]", &**topic);
                Err(Fault::new(Reason::BadTopic, 0x90, detail))
            }
            Heard::Taken => {
                Counters::add(&self.broker.counters().received, 1);
                self.acknowledge_heard(publish, output)
            }
            Heard::Refused(refused) => {
                let detail = format!("PUBLISH: what was said to {:?} is refused", &**topic);
                Err(self.refused(refused, Fault::new(Reason::PublishNotAuthorized, 0x87, detail), output))
            }
        }
    }

    /// The fault that ends the connection of who may not do what it wanted, after it was told. `fault` when nobody knows
    /// better.
    pub(super) fn not_allowed(&mut self, wanted: Wanted, topic: &str, fault: Fault, output: &mut BytesMut) -> Fault {
        let Ok(connected) = self.connected() else { return fault };
        let refused = connected.permissions.why_not(wanted, topic);
        self.refused(refused, fault, output)
    }

    fn refused(&mut self, refused: Refused, fault: Fault, output: &mut BytesMut) -> Fault {
        if let Some(notice) = &refused.notice {
            self.tell(notice, output);
        }
        match refused.end {
            Some(End { reason, detail, .. }) => Fault::new(reason, 0x87, detail.as_deref().unwrap_or_default()),
            None => fault,
        }
    }
}
