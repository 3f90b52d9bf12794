//! Answers that wait until what they acknowledge is durable.
//!
//! They go out in their order, so that one that waits holds up those behind it [MQTT-4.6.0-2 to 4.6.0-4]; what comes from the
//! client is handled meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;

use bytes::BytesMut;

use super::{Fault, Link, Stage};
use crate::keeping::Mark;
use crate::packet::Outgoing;

/// Answers that wait for one client; when there are so many, nothing more is taken from it. A thousand small packets.
const HELD_MAX: usize = 1_024;

/// An answer to a packet of the client.
#[derive(Debug)]
pub(super) enum Answer {
    PubAck { packet_id: u16, code: u8 },
    PubRec { packet_id: u16, code: u8 },
    PubRel { packet_id: u16, code: u8 },
    PubComp { packet_id: u16, code: u8 },
    SubAck { packet_id: u16, codes: Vec<u8> },
    UnsubAck { packet_id: u16, codes: Vec<u8> },
}

impl Answer {
    fn packet(&self) -> (Outgoing<'_>, &'static str) {
        match self {
            &Self::PubAck { packet_id, code } => (Outgoing::PubAck { packet_id, code }, "PUBACK"),
            &Self::PubRec { packet_id, code } => (Outgoing::PubRec { packet_id, code }, "PUBREC"),
            &Self::PubRel { packet_id, code } => (Outgoing::PubRel { packet_id, code }, "PUBREL"),
            &Self::PubComp { packet_id, code } => (Outgoing::PubComp { packet_id, code }, "PUBCOMP"),
            Self::SubAck { packet_id, codes } => (Outgoing::SubAck { packet_id: *packet_id, codes }, "SUBACK"),
            Self::UnsubAck { packet_id, codes } => (Outgoing::UnsubAck { packet_id: *packet_id, codes }, "UNSUBACK"),
        }
    }
}

/// Answers in their order, each with what must be durable before it goes out.
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<(Mark, Answer)>);

impl Held {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= HELD_MAX
    }
}

impl Link {
    /// Answers. With `kept`, once all that was handed to the keeper so far is durable; in any case behind the answers before.
    pub(super) fn answer(&mut self, kept: bool, answer: Answer, output: &mut BytesMut) -> Result<(), Fault> {
        let keeper = self.broker.keeper().filter(|_| kept);
        let mark =
            keeper.map(|keeper| keeper.taken()).filter(|mark| keeper.is_some_and(|keeper| *mark > keeper.kept()));
        let connected = self.connected()?;
        if mark.is_none() && connected.held.is_none() {
            let (packet, name) = answer.packet();
            return self.reply(&packet, name, output);
        }
        connected.held.get_or_insert_default().0.push_back((mark.unwrap_or_default(), answer));
        Ok(())
    }

    /// Sends the answers whose time has come; tells whether there were any.
    pub(super) fn release_held(&mut self, output: &mut BytesMut) -> Result<bool, Fault> {
        let Some(mut held) = self.connected()?.held.take() else { return Ok(false) };
        let kept = self.broker.keeper().map_or(Mark(u64::MAX), |keeper| keeper.kept());
        let mut any = false;
        while let Some((_, answer)) = held.0.pop_front_if(|(mark, _)| *mark <= kept) {
            let (packet, name) = answer.packet();
            self.reply(&packet, name, output)?;
            any = true;
        }
        if !held.0.is_empty() {
            self.connected()?.held = Some(held);
        }
        Ok(any)
    }

    /// Has the task woken when an answer, or a message that waits for `mark`, may go out, or when there is room again for what
    /// the client sends.
    pub(super) fn watch_keeper(&self, mark: Option<Mark>, cx: &Context<'_>) {
        let (Some(keeper), Stage::Connected(connected)) = (self.broker.keeper(), &self.stage) else { return };
        let held = connected.held.as_ref().and_then(|held| held.0.front()).map(|(mark, _)| *mark);
        let room = (!keeper.has_room()).then(|| keeper.taken());
        for mark in held.into_iter().chain(mark).chain(room) {
            Arc::clone(keeper).wake_at(mark, cx.waker());
        }
    }
}
