//! Promise: clients that come and go in a storm, or stand still, leave nothing behind and keep nobody out.

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use super::harness::{
    Connect, Device, Home, PATIENCE, Server, VERSIONS, Version, disconnect, publish, subscribe, wait_until,
};

/// As it was before, give or take what the runtime keeps at hand.
fn assert_holds_no_more(server: &Server, before: (usize, usize)) {
    wait_until("all that was held is given back", || {
        let now = server.holds();
        if now.0 <= before.0 + 2 && now.1 <= before.1 + 4 { Ok(()) } else { Err((before, now)) }
    });
}

fn connected(server: &Server) -> String {
    let metrics = server.rest_as(None, "/metrics").body;
    let line = metrics.lines().find(|line| line.starts_with("tracemq_connections")).unwrap_or_default();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn b35_b90_one_client_identifier_fought_for_by_many_has_one_owner_and_all_is_given_back() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 150;
    let home = Home::new("");
    let mut server = home.start();
    Device::connect(&server, &Connect::new(Version::V5, "twin")).close();
    server.history_with_ends("twin", 1);
    let before = server.holds();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let server = &server;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let version = VERSIONS[(thread + round) % 2];
                    let mut twin = Connect::new(version, "twin");
                    twin.clean = round % 3 == 0;
                    let mut device = Device::dial(server);
                    // Taken over at any moment: what fails here has to be on record, and nothing else.
                    let _ = device.try_send(&twin.bytes());
                    let _ = device.try_send(&subscribe(version, "t/#"));
                    let _ = device.try_send(&publish(version, "t/x", b"x"));
                    match round % 4 {
                        0 => drop(device.try_send(&disconnect(version, 0))),
                        1 => device.reset(),
                        _ => drop(device.try_receive()),
                    }
                }
            });
        }
    });
    // What the last ones sent may still be on its way, and takes the session over once more.
    wait_until("an owner that is served", || {
        let mut last = Device::try_dial(&server)?;
        last.try_send(&[&*Connect::new(Version::V311, "twin").bytes(), &[0xC0, 0]].concat())?;
        last.try_receive()?;
        last.try_receive().map(|pong| assert_eq!(pong, (0xD0, vec![])))
    });
    wait_until("nobody is connected", || match connected(&server) {
        none if none == "0" => Ok(()),
        some => Err(some),
    });
    assert_holds_no_more(&server, before);
    let history = wait_until("an end for each", || {
        let history = server.history("twin");
        let named: BTreeSet<_> = history.items.iter().map(|event| event.connection.clone()).collect();
        let ended: BTreeSet<_> =
            history.items.iter().filter(|event| event.is_end()).map(|event| event.connection.clone()).collect();
        if named == ended && named.len() > ROUNDS { Ok(history) } else { Err((named.len(), ended.len())) }
    });
    history.assert_every_connection_ended_once();
    assert!(server.is_running() && !server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn b36_whoever_takes_a_session_over_waits_for_no_old_owner_that_reads_nothing() {
    let home = Home::new("[mqtt]\nslow_consumer_s = 60\n");
    let server = home.start();
    for version in VERSIONS {
        let client = format!("twin-{version:?}");
        let mut old = Device::connect(&server, &Connect::new(version, &client));
        old.send(&subscribe(version, "flood"));
        assert_eq!(old.receive().0, 0x90);
        // More than sockets hold: the server is in the middle of sending.
        let mut loud = Device::connect(&server, &Connect::new(Version::V311, "loud"));
        for _ in 0..200 {
            loud.send(&publish(Version::V311, "flood", &[7; 100_000]));
        }
        loud.send(&[0xC0, 0]);
        assert_eq!(loud.receive().0, 0xD0, "all of it was taken");

        let begun = Instant::now();
        let mut new = Device::connect(&server, &Connect::new(version, &client));
        new.send(&[0xC0, 0]);
        while new.receive().0 != 0xD0 {}
        assert!(begun.elapsed() < PATIENCE / 4, "{:?}", begun.elapsed());
        if version == Version::V5 {
            // What was on its way to the old one is its to read, to the last word.
            let last = std::iter::repeat_with(|| old.receive()).find(|(first, _)| first >> 4 != 3);
            assert_eq!(last.map(|(first, body)| (first, body.first().copied())), Some((0xE0, Some(0x8E))));
        }
        let address = old.address();
        let end = wait_until("end of the old one", || {
            let history = server.history(&client);
            history.end_of(&address).cloned().ok_or(history)
        });
        assert_eq!(end.reason, "session-taken-over");
        drop(old);
        new.close();
        loud.close();
    }
}

#[test]
fn b90_memory_and_descriptors_are_level_however_many_came_and_went() {
    const CLIENTS: usize = 1_000;
    let home = Home::new("");
    let server = home.start();
    let churn = |round: usize| {
        for number in 0..CLIENTS {
            let version = VERSIONS[number % 2];
            let mut device = Device::connect(&server, &Connect::new(version, format!("churn-{round}-{}", number % 50)));
            device.send(&subscribe(version, "t/#"));
            device.send(&publish(version, "t/x", &[7; 500]));
            match number % 3 {
                0 => device.send(&disconnect(version, 0)),
                1 => device.reset(),
                _ => device.close(),
            }
        }
        wait_until("nobody is connected", || match connected(&server) {
            none if none == "0" => Ok(()),
            some => Err(some),
        });
    };
    churn(0); // pools and caches are filled
    let (before, held) = (server.resident_kib(), server.holds());
    (1..4).for_each(churn);
    assert_holds_no_more(&server, held);
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 3 * 2 * CLIENTS as u64, "{grown} KiB more after {} connections", 3 * CLIENTS);
}
