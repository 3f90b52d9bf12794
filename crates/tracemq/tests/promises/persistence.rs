//! Promise: sessions, queued and retained messages outlive the server; what it acknowledged survives `kill -9`.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use crate::harness::{Connect, Device, Dice, Home, Server, Version, packet, string};

/// Kills of the server; in half of them the subscriber is there.
const KILLS: usize = 50;

fn lasting(client: &str) -> Connect {
    Connect { clean: false, ..Connect::new(Version::V311, client) }
}

fn publish(flags: u8, topic: &str, id: u16, payload: &str) -> Vec<u8> {
    let body = [&*string(topic), &*if flags & 6 == 0 { vec![] } else { id.to_be_bytes().to_vec() }, payload.as_bytes()];
    packet(0x30 | flags, &body.concat())
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1], &*string(filter), &[qos]].concat())
}

fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

fn id_of(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

/// What a client that publishes remembers over its connections.
#[derive(Default)]
struct Publisher {
    sent: BTreeMap<u16, (String, u8, bool)>,
    last_id: u16,
    count: usize,
    acknowledged: BTreeSet<String>,
}

impl Publisher {
    fn resume(&mut self, server: &Server) -> Device {
        let mut device = Device::connect(server, &lasting("publisher"));
        for (id, (payload, qos, released)) in &self.sent {
            device.send(&if *released { ack(0x62, *id) } else { publish(0x08 | qos << 1, "t", *id, payload) });
        }
        device
    }

    fn publish(&mut self, device: &mut Device, qos: u8) {
        self.last_id += 1; // fewer are sent than there are
        self.count += 1;
        let payload = format!("{}:{qos}", self.count);
        device.send(&publish(qos << 1, "t", self.last_id, &payload));
        self.sent.insert(self.last_id, (payload, qos, false));
    }

    fn take_one(&mut self, device: &mut Device) {
        let (first, body) = device.receive();
        let id = id_of(&body);
        match first {
            0x40 => self.acknowledged.extend(self.sent.remove(&id).map(|(payload, ..)| payload)),
            0x50 => {
                let (payload, _, released) = self.sent.get_mut(&id).unwrap();
                self.acknowledged.insert(payload.clone());
                *released = true;
                device.send(&ack(0x62, id));
            }
            0x70 => drop(self.sent.remove(&id)),
            other => panic!("{other:x}"),
        }
    }
}

/// What a client that subscribes remembers over its connections.
#[derive(Default)]
struct Subscriber {
    open: BTreeSet<u16>,
    got: BTreeMap<String, usize>,
}

impl Subscriber {
    /// Takes messages until the server is gone, or `enough`.
    fn take(&mut self, device: &mut Device, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let Ok((first, body)) = device.try_receive() else { return };
            let answered = match first >> 4 {
                3 => {
                    let (id, payload) = (id_of(&body[3..]), String::from_utf8(body[5..].to_vec()).unwrap());
                    let qos = first >> 1 & 3;
                    if qos == 1 || self.open.insert(id) {
                        *self.got.entry(payload).or_default() += 1;
                    }
                    device.try_send(&ack(if qos == 1 { 0x40 } else { 0x50 }, id))
                }
                6 => {
                    self.open.remove(&id_of(&body));
                    device.try_send(&ack(0x70, id_of(&body)))
                }
                _ => Ok(()),
            };
            if answered.is_err() {
                return;
            }
        }
    }
}

#[test]
fn b72_what_was_acknowledged_survives_kill_9_and_qos_2_comes_once() {
    // Room for all of them: what finds a queue full while its client is away is dropped, as docs/mqtt.md says.
    let home = Home::new("[mqtt]\nmax_queued_messages = 100000\n");
    let mut server = home.start();
    let mut device = Device::connect(&server, &lasting("subscriber"));
    device.send(&subscribe("t", 2));
    assert_eq!(device.receive().0, 0x90);
    device.close();
    let (mut publisher, mut subscriber, mut dice) = (Publisher::default(), Subscriber::default(), Dice::new(7));
    for round in 0..KILLS {
        let reader = (round % 2 == 1).then(|| {
            let mut device = Device::connect(&server, &lasting("subscriber"));
            let mut subscriber = std::mem::take(&mut subscriber);
            thread::spawn(move || {
                subscriber.take(&mut device, |_| false);
                subscriber
            })
        });
        let mut device = publisher.resume(&server);
        while publisher.sent.len() > 100 {
            publisher.take_one(&mut device);
        }
        for _ in 0..40 {
            publisher.publish(&mut device, 1 + u8::from(dice.below(2) == 0));
            if dice.below(3) == 0 {
                publisher.take_one(&mut device);
            }
        }
        for _ in 0..dice.below(30) {
            publisher.take_one(&mut device);
        }
        server.kill();
        if let Some(reader) = reader {
            subscriber = reader.join().unwrap();
        }
        server = home.start();
    }
    let mut device = publisher.resume(&server);
    while !publisher.sent.is_empty() {
        publisher.take_one(&mut device);
    }
    let mut device = Device::connect(&server, &lasting("subscriber"));
    let all = publisher.acknowledged.clone();
    subscriber.take(&mut device, |known| known.open.is_empty() && all.iter().all(|one| known.got.contains_key(one)));
    assert_eq!(publisher.acknowledged.len(), publisher.count, "each was acknowledged in the end");
    let missing: Vec<_> = all.iter().filter(|payload| !subscriber.got.contains_key(*payload)).collect();
    assert!(missing.is_empty(), "acknowledged and never came: {missing:?}");
    let doubled = subscriber.got.iter().filter(|(payload, times)| payload.ends_with(":2") && **times > 1);
    assert_eq!(doubled.collect::<Vec<_>>(), [], "QoS 2 came more than once");
}

#[test]
fn sessions_and_retained_messages_are_there_after_a_stop_and_a_start() {
    let home = Home::new("");
    let mut server = home.start();
    let mut device = Device::connect(&server, &lasting("lamp"));
    device.send(&subscribe("light/+", 1));
    device.receive();
    device.close();
    let mut device = Device::connect(&server, &Connect::new(Version::V311, "switch"));
    for (id, flags, payload) in [(1, 2, "waits"), (2, 3, "waits and is retained")] {
        device.send(&publish(flags, "light/1", id, payload));
        assert_eq!(device.receive().0, 0x40);
    }
    assert_eq!(server.stop().code(), Some(0));

    let server = home.start();
    assert!(server.log().contains("took back what was kept"), "{}", server.log());
    let mut device = Device::dial(&server);
    device.send(&lasting("lamp").bytes());
    assert_eq!(device.receive(), (0x20, vec![1, 0]), "the session is present");
    for expected in ["waits", "waits and is retained"] {
        let (_, body) = device.receive();
        assert_eq!(&body[11..], expected.as_bytes());
    }
    let mut new = Device::connect(&server, &Connect::new(Version::V311, "new"));
    new.send(&subscribe("#", 0));
    assert_eq!(new.receive().0, 0x90);
    let (first, body) = new.receive();
    assert_eq!((first & 1, &body[9..]), (1, &b"waits and is retained"[..]));
}

#[test]
fn without_persistence_sessions_end_with_the_process() {
    let home = Home::new("[mqtt]\npersistence = false\n");
    let mut server = home.start();
    let mut device = Device::connect(&server, &lasting("lamp"));
    device.send(&subscribe("a", 1));
    device.receive();
    assert_eq!(server.stop().code(), Some(0));
    let server = home.start();
    let mut device = Device::dial(&server);
    device.send(&lasting("lamp").bytes());
    assert_eq!(device.receive(), (0x20, vec![0, 0]));
}

#[test]
fn what_was_kept_and_cannot_be_read_stops_the_start_and_is_left_as_it_is() {
    let home = Home::new("");
    let mut server = home.start();
    assert_eq!(server.stop().code(), Some(0));
    let file = home.data_dir().join("sessions");
    std::fs::write(&file, b"not what was written").unwrap();
    let (status, said) = home.refused_start();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("moved away"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), b"not what was written");
}
