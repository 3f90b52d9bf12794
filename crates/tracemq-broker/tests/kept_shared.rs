//! Messages of a shared subscription that one member gives up and another gets: wherever the process is killed, one of them
//! has the message, and only one.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod keeper;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use keeper::{TestKeeper, recall};
use tracemq_broker::{Broker, Kept, Limits, Tick};
use wire::{Connect, Peer, connect, packet, publish, subscribe};

/// Lasts, and takes one message of QoS 1 or 2 at once.
fn giver() -> Connect {
    connect(true, "giver").props(&[0x21, 0, 1]).lasting(100)
}

fn taker() -> Connect {
    connect(true, "taker").lasting(1_000)
}

struct World {
    broker: Arc<Broker>,
    keeper: Arc<TestKeeper>,
    giver: Peer,
    taker: Peer,
}

impl World {
    /// The giver has been sent message 1 of QoS 1, and 2 and 3 of QoS 1 and 2 wait for it. All that is durable.
    fn new() -> Self {
        let keeper = TestKeeper::new(false);
        let broker = Broker::with_keeper(Limits::default(), keeper.clone(), Kept::default(), &recall, Tick(0), 0);
        let mut giver = Peer::connected(&broker, 1, &giver());
        giver.send(&subscribe(true, &[("$share/g/a", 2)]));
        let mut publisher = Peer::connected(&broker, 9, &connect(true, "pub"));
        for (id, flags) in [(1, 2), (2, 2), (3, 4)] {
            publisher.send(&publish(true, flags, "a", id, &[], id.to_string().as_bytes()));
        }
        assert_eq!(giver.payloads(), ["1"]);
        let mut taker = Peer::connected(&broker, 2, &taker());
        taker.send(&subscribe(true, &[("$share/g/a", 2)]));
        keeper.make_all_durable();
        assert_eq!(on_disk(&keeper), [("1", "giver"), ("2", "giver"), ("3", "giver")].map(owned));
        Self { broker, keeper, giver, taker }
    }

    /// Lets the process be killed after each step to the disk that is left: whoever has a message then, one has it. In the end
    /// the taker has these.
    fn each_message_is_in_one_session(&self, taken: &[&str]) {
        assert!(self.keeper.pending() > 0);
        while self.keeper.pending() > 0 {
            let there: Vec<String> = on_disk(&self.keeper).into_iter().map(|(message, _)| message).collect();
            assert_eq!(there, ["1", "2", "3"], "with {} steps to come", self.keeper.pending());
            self.keeper.make_durable(1);
        }
        let there = on_disk(&self.keeper);
        let of_taker = there.iter().filter(|(_, client)| client == "taker").map(|(message, _)| message.as_str());
        assert_eq!(of_taker.collect::<Vec<_>>(), taken);
        assert_eq!(there.len(), 3);
    }
}

fn owned((message, client): (&str, &str)) -> (String, String) {
    (message.to_owned(), client.to_owned())
}

/// The messages that a process would find that begins now, and with which client.
fn on_disk(keeper: &TestKeeper) -> Vec<(String, String)> {
    let kept = keeper.durable();
    let clients: BTreeMap<u64, String> = kept.sessions.into_iter().map(|(number, one)| (number, one.client)).collect();
    let messages: BTreeMap<u64, _> = kept.messages.into_iter().collect();
    let payload = |number: u64| String::from_utf8(messages[&number].payload.to_vec()).unwrap();
    let entries = kept.entries.into_iter();
    let mut there: Vec<_> =
        entries.map(|(session, _, entry)| (payload(entry.message), clients[&session].clone())).collect();
    there.sort();
    there
}

#[test]
fn wherever_the_process_is_killed_what_waited_for_a_member_that_goes_away_is_in_one_session() {
    let mut world = World::new();
    world.giver.link.gone(Tick(0));
    world.each_message_is_in_one_session(&["2", "3"]);
}

#[test]
fn wherever_the_process_is_killed_what_a_member_had_whose_session_ends_is_in_one_session() {
    let mut world = World::new();
    world.giver.send(&packet(0xe0, &[0, 5, 0x11, 0, 0, 0, 0])); // no expiry any more
    world.each_message_is_in_one_session(&["1", "2", "3"]);
}

#[test]
fn wherever_the_process_is_killed_what_a_member_had_that_begins_anew_is_in_one_session() {
    let world = World::new();
    let _anew = Peer::connected(&world.broker, 3, &connect(true, "giver"));
    world.each_message_is_in_one_session(&["1", "2", "3"]);
}

#[test]
fn wherever_the_process_is_killed_what_a_member_had_whose_session_expires_is_in_one_session() {
    let mut world = World::new();
    world.taker.link.gone(Tick(0));
    world.giver.link.gone(Tick(0));
    world.keeper.make_all_durable();
    world.broker.expire(Tick(100_000));
    world.each_message_is_in_one_session(&["1", "2", "3"]);
}
