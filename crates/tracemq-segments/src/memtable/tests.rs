use tracemq_model::{Action, ClientId, ConnectionId, Details, Event, InstanceId, Provenance, Reason, TimeMs, Traffic};

use super::Memtable;

fn event(number: u64) -> Event {
    let traffic = Traffic {
        bytes_in: number,
        bytes_out: number,
        packets_in: 60_000,
        packets_out: 60_000,
        last_in_age_ms: Some(60_000),
        last_out_age_ms: Some(60_000),
        ..Traffic::default()
    };
    Event {
        time: TimeMs(number.cast_signed()),
        instance: InstanceId::new("mqtt-local").unwrap(),
        connection: ConnectionId(number.into()),
        action: Action::Close,
        reason: Reason::KeepAliveTimeout,
        provenance: Provenance::Observed,
        client: Some(ClientId::new(&format!("GID_fleet@@@dev-{number:07}")).unwrap()),
        peer: None,
        details: Details { traffic: Some(traffic), ..Details::default() },
    }
}

/// What grows leaves holes behind that the allocator keeps, and appends wait for it.
#[test]
fn a_memtable_never_grows_however_many_clients_it_has() {
    let memtable = Memtable::new(10_000);
    let capacities = || {
        let state = memtable.read();
        (state.rows.capacity(), state.cells.capacity(), state.subjects.capacity())
    };
    let before = capacities();
    for first in (0..11_000).step_by(500) {
        memtable.insert(&(first..first + 500).map(event).collect::<Vec<_>>());
    }
    assert_eq!(memtable.len(), 11_000);
    assert_eq!(capacities(), before);
}
