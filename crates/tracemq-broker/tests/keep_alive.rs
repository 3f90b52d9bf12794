//! What the end of a connection says of the client's keep alive.

mod wire;

use tracemq_broker::{Closing, Tick};
use tracemq_model::Reason;
use wire::{Peer, broker, connect, packet, publish};

#[test]
fn the_end_says_how_many_keep_alives_were_missed() {
    let dev = |keep_alive: u16| Peer::connected(&broker(), 1, &connect(true, "dev").keep_alive(keep_alive));
    let mut silent = dev(10);
    assert_eq!(silent.link.missed_keep_alives(Tick(9_999)), 0);
    assert_eq!(silent.link.missed_keep_alives(Tick(10_000)), 1);
    silent.time_out(Tick(15_000)).assert_ended(Reason::KeepAliveTimeout, "silent");
    assert_eq!(silent.link.missed_keep_alives(Tick(99_000)), 1, "as it was at the end");

    let mut late = dev(10);
    late.time_out(Tick(43_000)).assert_ended(Reason::KeepAliveTimeout, "the server was held up");
    assert_eq!(late.link.missed_keep_alives(Tick(43_000)), 4);

    let mut speaks = dev(10);
    for at in [9_000, 18_000, 29_000] {
        speaks.now = Tick(at);
        speaks.send(&packet(0xc0, &[]));
    }
    speaks.now = Tick(38_000);
    speaks.send(&packet(0xe0, &[]));
    assert_eq!(speaks.closed, Some(Closing::DisconnectReceived { reason_code: Some(0) }));
    assert_eq!(speaks.link.missed_keep_alives(Tick(99_000)), 0);

    let mut vanished = dev(10);
    vanished.link.gone(Tick(12_000));
    assert_eq!(vanished.link.missed_keep_alives(Tick(12_000)), 1, "its network was gone before the server ended it");

    // A packet that the server took in at the end was spoken, whatever became of it.
    let broker = broker();
    let mut displaced = Peer::connected(&broker, 1, &connect(true, "dev").keep_alive(10));
    displaced.now = Tick(12_000);
    Peer::connected_at(&broker, 2, &connect(true, "dev"), Tick(12_000));
    displaced.send(&packet(0xc0, &[]));
    assert_eq!((displaced.reason(), displaced.link.missed_keep_alives(Tick(12_000))), (Reason::SessionTakenOver, 0));

    let mut unwatched = Peer::connected(&broker, 3, &connect(false, "off").keep_alive(0));
    unwatched.link.gone(Tick(1_000_000));
    assert_eq!(unwatched.link.missed_keep_alives(Tick(1_000_000)), 0);
    let mut unconnected = Peer::open(&broker, 4, Tick(0));
    unconnected.time_out(Tick(1_000_000)).assert_ended(Reason::ConnectTimeout, "no CONNECT");
    assert_eq!(unconnected.link.missed_keep_alives(Tick(1_000_000)), 0);
}

#[test]
fn a_part_of_a_packet_is_none() {
    for v5 in [false, true] {
        let mut slow = Peer::connected(&broker(), 1, &connect(v5, "slow").keep_alive(10));
        let large = publish(v5, 2, "t", 1, &[], &[7; 1_000]);
        for (at, piece) in (1..).zip(large.chunks(100)).take(5) {
            slow.now = Tick(at * 2_900);
            slow.send(piece);
        }
        slow.time_out(Tick(14_999));
        assert!(slow.closed.is_none());
        slow.time_out(Tick(15_000)).assert_ended(Reason::KeepAliveTimeout, "bytes came, and no packet");
    }
}
