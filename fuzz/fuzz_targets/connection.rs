//! Two connections of one broker, fed with whatever the fuzzer finds, from the first byte on.
//!
//! The input is a list of turns: one byte says whose turn it is and what happens (bytes, time, a look for deliveries,
//! the network goes away), one byte how many bytes follow. A valid CONNECT is put in front where the first byte asks
//! for it, so that the states behind it are reached soon.

#![no_main]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tracemq_broker::{Broker, Decision, Limits, Link, Permissions, Step, Tick};
use tracemq_model::ConnectionId;

struct Everything;

impl Permissions for Everything {
    fn may_receive(&self, _: &str) -> bool {
        true
    }
    fn generation(&self) -> u64 {
        0
    }
    fn may_publish(&self, topic: &str, _: u8, _: bool) -> bool {
        !topic.starts_with("forbidden")
    }

    fn may_subscribe(&self, filter: &str, _: Option<u8>) -> bool {
        !filter.starts_with("forbidden")
    }
}

const CONNECT_311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01a";
const CONNECT_5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x00\x00\x3c\x00\x00\x01b";

struct Side {
    link: Link,
    input: BytesMut,
    output: BytesMut,
    closed: bool,
}

impl Side {
    fn step(&mut self, now: Tick, step: Step) -> bool {
        match step {
            Step::Continue => false,
            Step::Accepted(_) => true,
            Step::Authenticate(_) => {
                let decision = Decision::Admit { permissions: Arc::new(Everything) };
                let next = self.link.decide(now, decision, &mut self.output);
                self.step(now, next)
            }
            Step::Close(_) => {
                self.closed = true;
                self.link.gone(now);
                false
            }
        }
    }

    fn receive(&mut self, now: Tick) {
        while !self.closed {
            let step = self.link.receive(now, &mut self.input, &mut self.output);
            if !self.step(now, step) {
                break;
            }
        }
    }

    fn deliver(&mut self, now: Tick) {
        let mut cx = Context::from_waker(Waker::noop());
        while !self.closed {
            match self.link.poll_deliveries(now, &mut cx, 4_096, &mut self.output) {
                Poll::Ready(step) => {
                    self.output.clear();
                    self.step(now, step);
                }
                Poll::Pending => break,
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let limits = Limits { packet_bytes_max: 4_096, queue_messages_max: 8, inflight_max: 4, ..Limits::default() };
    let broker = Broker::new(limits);
    let mut now = Tick(0);
    let mut sides: Vec<Side> = (0..2)
        .map(|n| Side {
            link: broker.open(ConnectionId(n), now),
            input: BytesMut::new(),
            output: BytesMut::new(),
            closed: false,
        })
        .collect();
    let Some((first, mut rest)) = data.split_first() else { return };
    for (n, connect) in [CONNECT_311, CONNECT_5].into_iter().enumerate() {
        if first & (1 << n) != 0 {
            sides[n].input.extend_from_slice(connect);
            sides[n].receive(now);
        }
    }
    while let [turn, len, more @ ..] = rest {
        let (bytes, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        let side = &mut sides[usize::from(turn & 1)];
        if side.closed {
            continue;
        }
        match turn >> 1 & 7 {
            0..=4 => {
                side.input.extend_from_slice(bytes);
                side.receive(now);
            }
            5 => side.deliver(now),
            6 => {
                now = Tick(now.0 + u64::from(*len) * 500);
                broker.expire(now);
                if side.link.deadline().is_some_and(|deadline| deadline <= now) {
                    let step = side.link.timed_out(now, &mut side.output);
                    side.step(now, step);
                }
            }
            _ => {
                side.closed = true;
                side.link.gone(now);
            }
        }
        side.output.clear();
    }
    for side in &mut sides {
        side.deliver(now);
        side.link.gone(now);
    }
    assert_eq!(broker.stats().connections, 0, "a connection is still counted after all are gone");
});
