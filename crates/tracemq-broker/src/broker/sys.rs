//! `$SYS/broker/...`: figures of the broker as retained messages, under the names that Mosquitto gives them, so that
//! what people have built on those works here.
//!
//! Totals only: no client is named. A topic is published again when its value changed. They are kept apart from the
//! clients' retained messages, whose bounds they don't use up.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::{Broker, Counters};
use crate::limits::Tick;
use crate::packet::{Message, Qos};
use crate::session::Wakes;

/// What is averaged over 1, 5 and 15 minutes: its topic, and its count since the start.
const LOADS: usize = 8;

/// What stands published.
#[derive(Debug, Default)]
pub(super) struct Sys {
    started: Option<Tick>,
    last: Option<Tick>,
    clients_max: usize,
    /// Of each load: its count at the last time, and its three averages.
    loads: [(u64, [f64; 3]); LOADS],
    published: BTreeMap<String, String>,
}

/// Whether `topic` (or a filter that can match one) is the broker's own.
pub(super) fn is_own(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

impl Sys {
    fn is_due(&mut self, now: Tick, interval_s: u32) -> bool {
        self.started.get_or_insert(now);
        interval_s > 0 && self.last.is_none_or(|last| now >= last.plus_s(interval_s))
    }

    /// Takes in the counts of this moment: exponential averages, a minute's worth, as Mosquitto has them.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn average(&mut self, now: Tick, counts: [u64; LOADS]) {
        let seconds = self.last.map_or(0.0, |last| now.since(last) as f64 / 1000.0);
        for (load, count) in self.loads.iter_mut().zip(counts) {
            let (before, averages) = load;
            if seconds > 0.0 {
                let a_minute = count.saturating_sub(*before) as f64 * 60.0 / seconds;
                for (average, window) in averages.iter_mut().zip([60.0, 300.0, 900.0]) {
                    let kept = f64::exp(-seconds / window);
                    *average = a_minute + kept * (*average - a_minute);
                }
            }
            *before = count;
        }
        self.last = Some(now);
    }

    /// Notes a value; gives it back when it is a new one.
    fn note(&mut self, topic: &str, value: String) -> Option<(String, String)> {
        if self.published.get(topic) == Some(&value) {
            return None;
        }
        self.published.insert(topic.to_owned(), value.clone());
        Some((format!("$SYS/broker/{topic}"), value))
    }
}

impl Broker {
    /// Publishes what changed, if it is time.
    pub(super) fn publish_sys(&self, now: Tick) {
        let changed = {
            let mut sys = self.sys.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !sys.is_due(now, self.limits.sys_interval_s) {
                return;
            }
            self.figures(&mut sys, now)
        };
        for (topic, value) in changed {
            let message = Message {
                topic: topic.into(),
                payload: Bytes::from(value),
                qos: Qos::AtMostOnce,
                retain: true,
                expiry_s: None,
                properties: None,
                trace: None,
                kept: OnceLock::new(),
            };
            self.publish(now, 0, message, None, &mut Wakes::default());
        }
    }

    fn figures(&self, sys: &mut Sys, now: Tick) -> Vec<(String, String)> {
        let stats = self.stats();
        let (retained_bytes, links) = {
            let tables = self.read();
            (tables.retained.bytes(), tables.links.len())
        };
        let Counters { connects, received, sent, dropped, .. } = &self.counters;
        let Counters { packets_in, packets_out, bytes_in, bytes_out, payload_in, payload_out, expired, .. } =
            &self.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let loads = [
            ("messages/received", packets_in),
            ("messages/sent", packets_out),
            ("publish/received", received),
            ("publish/sent", sent),
            ("publish/dropped", dropped),
            ("bytes/received", bytes_in),
            ("bytes/sent", bytes_out),
            ("connections", connects),
        ];
        sys.clients_max = sys.clients_max.max(stats.connections);
        sys.average(now, loads.map(|(_, counter)| read(counter)));
        let away = stats.sessions.saturating_sub(stats.connections);
        let uptime_s = sys.started.map_or(0, |started| now.since(started) / 1000);
        let clients_max = sys.clients_max;
        let mut figures: Vec<(String, String)> = vec![
            ("version".into(), format!("tracemq version {}", env!("CARGO_PKG_VERSION"))),
            ("uptime".into(), format!("{uptime_s} seconds")),
        ];
        let mut put = |topic: &str, value: u64| figures.push((topic.to_owned(), value.to_string()));
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        for (topics, value) in [
            (&["clients/connected", "clients/active"][..], count(stats.connections)),
            (&["clients/disconnected", "clients/inactive"], count(away)),
            (&["clients/total"], count(stats.sessions)),
            (&["clients/maximum"], count(clients_max)),
            (&["clients/expired"], read(expired)),
            (&["connections/socket/count"], count(links)),
            (&["messages/received"], read(packets_in)),
            (&["messages/sent"], read(packets_out)),
            (&["messages/stored", "store/messages/count", "retained messages/count"], count(stats.retained)),
            (&["store/messages/bytes"], count(retained_bytes)),
            (&["publish/messages/received"], read(received)),
            (&["publish/messages/sent"], read(sent)),
            (&["publish/messages/dropped"], read(dropped)),
            (&["publish/bytes/received"], read(payload_in)),
            (&["publish/bytes/sent"], read(payload_out)),
            (&["bytes/received"], read(bytes_in)),
            (&["bytes/sent"], read(bytes_out)),
            (&["subscriptions/count"], count(stats.subscriptions)),
            (&["shared_subscriptions/count"], count(stats.shared_subscriptions)),
        ] {
            for topic in topics {
                put(topic, value);
            }
        }
        for ((name, _), (_, averages)) in loads.iter().zip(sys.loads) {
            for (minutes, average) in ["1min", "5min", "15min"].iter().zip(averages) {
                figures.push((format!("load/{name}/{minutes}"), format!("{average:.2}")));
            }
        }
        figures.into_iter().filter_map(|(topic, value)| sys.note(&topic, value)).collect()
    }
}
