//! Events come back as they went in, and nothing else does.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tracemq_model::{
    Action, ClientId, ConnectionId, ConnectionIds, Details, Event, Gap, GapCause, InstanceId, PacketKind,
};
use tracemq_model::{
    MessageDetails, MessageId, ProtocolVersion, Provenance, Reason, Subject, TimeMs, TlsVersion, Traffic,
};
use tracemq_store::Batch;

use crate::cells;
use crate::key::{Key, push_key, push_key_of};
use crate::row::Row;
use crate::wal::Entry;
use crate::wal::decode::Decoded;
use crate::wal::encode::{CLIENT_NEW, CONNECTION_KNOWN, Encoder, PEER_OF_CONNECTION, encode_erasure};

fn encoded(batch: &Batch) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut encoder = Encoder::default();
    // What a batch leaves doesn't reach the next one.
    encoder.encode(&Batch { events: vec![event(1), event(2)], gaps: Vec::new() }, &mut payload);
    payload.clear();
    encoder.encode(batch, &mut payload);
    payload
}

/// The batch that `payload` holds, and all that is shown beside the events is what they say.
fn decoded(payload: &[u8]) -> Option<Batch> {
    let mut decoded = Decoded::default();
    // What a record leaves doesn't reach the next one.
    decoded.decode(&encoded(&Batch { events: vec![event(1), event(2)], gaps: Vec::new() })).unwrap();
    decoded.decode(payload)?;
    let mut batch = Batch::default();
    decoded.visit(&mut |entry| match entry {
        Entry::Event(logged) => {
            let event = logged.to_event().unwrap();
            let mut key = Vec::new();
            push_key_of(&event, &mut key);
            assert_eq!((logged.key, logged.row), (key.as_slice(), Row::of(&event)));
            let mut texts: Vec<Arc<str>> = Vec::new();
            let mut bytes = Vec::new();
            let intern = |text: &Arc<str>| {
                texts.push(Arc::clone(text));
                u32::try_from(texts.len() - 1).unwrap()
            };
            logged.push_cells(intern, &mut bytes);
            assert_eq!(
                cells::details(&bytes, |number| texts.get(number as usize).cloned()),
                Some(event.details.clone())
            );
            batch.events.push(event);
        }
        Entry::Gap(gap) => batch.gaps.push(gap),
        Entry::Erased { .. } => panic!("no erasure"),
    });
    Some(batch)
}

fn event(number: u32) -> Event {
    Event {
        time: TimeMs(i64::from(number)),
        instance: InstanceId::new("i").unwrap(),
        connection: ConnectionId(u128::from(number)),
        action: Action::Connect,
        reason: Reason::Accepted,
        provenance: Provenance::Observed,
        client: Some(ClientId::new(&format!("device-{number}")).unwrap()),
        peer: Some("10.0.0.7:1024".parse().unwrap()),
        details: Details { listener: Some("mqtt".into()), protocol: Some(ProtocolVersion::V5), ..Details::default() },
    }
}

fn comes_back(batch: &Batch) {
    assert_eq!(decoded(&encoded(batch)).as_ref(), Some(batch));
}

#[test]
fn extremes_come_back() {
    comes_back(&Batch::default());
    let mut events = Vec::new();
    for (time, connection) in [(i64::MIN, u128::MAX), (i64::MAX, 0), (i64::MIN, 1 << 127), (0, 5), (-1, u128::MAX - 1)]
    {
        let mut ids = ConnectionIds::new(u32::MAX);
        for connection in [ConnectionId(connection), ids.next(TimeMs(time)), ids.next(TimeMs(-time.max(-5)))] {
            let traffic = Traffic { bytes_in: u64::MAX, last_out_age_ms: Some(u64::MAX), ..Traffic::default() };
            let details = Details { duration_ms: Some(u64::MAX), traffic: Some(traffic), ..Details::default() };
            events.push(Event { time: TimeMs(time), connection, details, ..event(1) });
        }
    }
    let names =
        ["x".repeat(65_535), "x".repeat(65_534), format!("{}é", "x".repeat(254)), format!("{}è", "x".repeat(254))];
    for (name, instance) in names.iter().chain(&names).zip(["a", "b", "a", "b", "b", "a", "b", "b"]) {
        let client = ClientId::new(name).ok();
        events.push(Event { client, instance: InstanceId::new(instance).unwrap(), ..event(2) });
    }
    for peer in [None, Some("[::ffff:10.0.0.7]:1"), Some("10.0.0.7:1"), Some("[2001:db8::7]:65535")] {
        events.push(Event { client: None, peer: peer.map(|peer| peer.parse().unwrap()), ..event(3) });
    }
    let gap = Gap { from: TimeMs::MAX, to: TimeMs::MIN, lost: Some(u64::MAX), cause: GapCause::Damaged };
    comes_back(&Batch { events, gaps: vec![gap] });
}

#[test]
fn an_erasure_comes_back_and_a_key_that_is_none_does_not() {
    let mut key = Vec::new();
    push_key(&InstanceId::new("i").unwrap(), &Subject::Client(ClientId::new("c").unwrap()), &mut key);
    let mut payload = Vec::new();
    encode_erasure(&key, &mut payload);
    let mut decoded = Decoded::default();
    decoded.decode(&payload).unwrap();
    let mut erased = Vec::new();
    decoded.visit(&mut |entry| match entry {
        Entry::Erased { key } => erased.push(key.to_vec()),
        Entry::Event(_) | Entry::Gap(_) => panic!("no event"),
    });
    assert_eq!(erased, [key]);
    assert_eq!(decoded.decode(&payload[..payload.len() - 1]), None);
    assert!(Key::read(b"i\0\0").is_some() && decoded.decode(b"\x02i\0\0").is_none());
}

/// A batch of nothing, and numbers that are larger than anything that follows.
#[test]
fn s36_s37_numbers_at_their_maximum_are_refused_in_bounded_memory() {
    const MOST: [u8; 10] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for field in 0..4 {
        let mut payload = vec![1];
        for at in 0..4 {
            if at == field { payload.extend(MOST) } else { payload.push(0) }
        }
        assert_eq!(decoded(&payload), None);
        payload.extend([0; 1_000]);
        assert_eq!(decoded(&payload), None);
    }
    let payload = encoded(&Batch { events: (0..20).map(event).collect(), gaps: Vec::new() });
    for at in 1..payload.len() {
        let mut changed = payload.clone();
        changed.splice(at..=at, MOST);
        let _ = decoded(&changed);
    }
}

/// Names that share all and add nothing: what is on disk bounds what they take in memory.
#[test]
fn s37_a_name_behind_a_name_is_no_bomb() {
    for (length, is_taken) in [(255, true), (256, false), (60_000, false)] {
        let client = ClientId::new(&"x".repeat(length)).ok();
        let mut payload = encoded(&Batch { events: vec![Event { client, ..event(1) }], gaps: Vec::new() });
        // Another event of the connection, whose name drops nothing and adds nothing.
        payload[4] = 2;
        payload.extend([PEER_OF_CONNECTION << 4 | CONNECTION_KNOWN << 2 | CLIENT_NEW, 0, 0, 0, 0, 0x00]);
        assert_eq!(decoded(&payload).is_some(), is_taken, "{length} bytes");
    }
}

fn details() -> impl Strategy<Value = Details> {
    let text = || option::of(prop_oneof!["[ab]{0,3}", ".{0,20}"].prop_map(|text| Arc::<str>::from(text.as_str())));
    let versions = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
    let traffic = (any::<u64>(), 0..3_u64, 0..3_u64, any::<u64>(), option::of(any::<u64>()), option::of(0..3_u64));
    let numbers =
        (option::of(any::<u16>()), option::of(any::<u8>()), option::of(any::<u128>()), option::of(any::<u64>()));
    let flags = (option::of(any::<bool>()), option::of(any::<bool>()));
    let tls = (any::<bool>(), text(), text(), text(), option::of(any::<i64>()), option::of(any::<u64>())).prop_map(
        |(v13, server_name, certificate_subject, certificate_issuer, not_after, count)| Details {
            tls_version: v13.then_some(TlsVersion::V13),
            server_name,
            certificate_subject,
            certificate_issuer,
            certificate_not_after: not_after.map(TimeMs),
            count,
            message: count.map(|number| {
                let id = MessageId(u128::from(number).wrapping_mul(0x1_0000_0000_0000_0001));
                let client = number.is_multiple_of(2).then(|| "c".into());
                Box::new(MessageDetails { id, topic: "a/b".into(), qos: 1, payload_bytes: number, client })
            }),
            ..Details::default()
        },
    );
    (text(), option::of(0..3_usize), text(), text(), flags, numbers, option::of(traffic), tls).prop_map(
        move |(listener, protocol, username, detail, flags, numbers, traffic, tls)| Details {
            listener,
            protocol: protocol.map(|number| versions[number]),
            username,
            keep_alive_s: numbers.0,
            clean_start: flags.0,
            session_present: flags.1,
            reason_code: numbers.1,
            detail,
            other_connection: numbers.2.map(ConnectionId),
            duration_ms: numbers.3,
            traffic: traffic.map(|(bytes_in, bytes_out, packets_in, packets_out, last_in_age_ms, last_out_age_ms)| {
                Traffic {
                    bytes_in,
                    bytes_out,
                    packets_in,
                    packets_out,
                    last_in_age_ms,
                    last_out_age_ms,
                    last_in_kind: last_in_age_ms.map(|_| PacketKind::PingReq),
                    last_out_kind: last_out_age_ms.map(|_| PacketKind::Publish),
                    subscriptions: last_out_age_ms.and_then(|number| u32::try_from(number).ok()),
                    missed_keep_alives: last_out_age_ms.and_then(|age| u32::try_from(age).ok()),
                    ..Traffic::default()
                }
            }),
            ..tls
        },
    )
}

/// Events that repeat each other's names, connections and addresses, and some that don't.
fn events() -> impl Strategy<Value = Event> {
    let instance = prop_oneof![Just("a"), Just("b"), Just("mqtt-local")];
    let client = option::of(prop_oneof!["x{250,260}[ab]{0,2}", "[ab]{1,4}", "[^\0]{1,12}"]);
    let own = (0..3_u32, 0..4_u64).prop_map(|(node, count)| {
        let mut ids = ConnectionIds::new(node);
        let id = (0..=count).map(|at| ids.next(TimeMs(i64::try_from(at).unwrap() * 1_000))).last();
        id.unwrap()
    });
    let connection = prop_oneof![own, (0..4_u128).prop_map(ConnectionId), any::<u128>().prop_map(ConnectionId)];
    let peers = ["10.0.0.7:1883", "10.0.0.7:1884", "[2001:db8::7]:8883", "[::ffff:10.0.0.7]:1883"];
    let peer = option::of((0..4_usize).prop_map(move |at| peers[at].parse::<SocketAddr>().unwrap()));
    let actions = Action::ALL;
    let provenances = [Provenance::Observed, Provenance::Reported, Provenance::Inferred];
    let kind = (0..actions.len(), 0..Reason::ALL.len(), 0..3_usize);
    let time = prop_oneof![0..100_i64, any::<i64>()].prop_map(TimeMs);
    (time, instance, connection, kind, client, peer, details()).prop_map(
        move |(time, instance, connection, kind, client, peer, details)| Event {
            time,
            instance: InstanceId::new(instance).unwrap(),
            connection,
            action: actions[kind.0],
            reason: Reason::ALL[kind.1],
            provenance: provenances[kind.2],
            client: client.map(|name| ClientId::new(&name).unwrap()),
            peer,
            details,
        },
    )
}

proptest! {
    #[test]
    fn any_batch_comes_back(events in vec(events(), 0..40)) {
        let batch = Batch { events, gaps: Vec::new() };
        prop_assert_eq!(decoded(&encoded(&batch)), Some(batch));
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in vec(any::<u8>(), 0..300), batch in 0..3_u8) {
        let _ = decoded(&bytes);
        let _ = decoded(&[&[1, batch, batch, 0, 9][..], &bytes].concat());
    }

    #[test]
    fn a_changed_batch_is_another_or_none(events in vec(events(), 1..6), at: prop::sample::Index, byte: u8, cut: bool) {
        let mut payload = encoded(&Batch { events, gaps: Vec::new() });
        let at = at.index(payload.len());
        payload[at] = byte;
        payload.truncate(if cut { at } else { payload.len() });
        // Whatever it is now, it is read without a panic, and writes what it was read from.
        if let Some(batch) = decoded(&payload) {
            prop_assert_eq!(decoded(&encoded(&batch)), Some(batch));
        }
    }
}
