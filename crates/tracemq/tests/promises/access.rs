//! Promise: nobody comes in who may not, nobody does what he may not, and who may no longer is out; the record says so.

use std::fs;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::harness::{
    Connect, Device, Home, PATIENCE, Server, USERS, VERSIONS, Version, packet, publish, string, subscribe, wait_until,
};

const CONFIG: &str = "[mqtt]\nusers_file = 'users'\n";

fn ops(version: Version, client: &str) -> Connect {
    Connect::new(version, client).login("ops", "secret")
}

/// What the server answers to a CONNECT that it refuses, and the reason on record.
fn refused(server: &Server, connect: &Connect) -> (u8, String) {
    let mut device = Device::dial(server);
    device.send(&connect.bytes());
    let answer = device.receive_until_closed();
    let client = String::from_utf8(connect.client.clone()).unwrap();
    let address = device.address();
    let end = wait_until("end on record", || {
        let history = server.history(&client);
        history.end_of(&address).cloned().ok_or(history)
    });
    (answer[3], end.reason)
}

fn end_of(server: &Server, device: &Device, client: &str) -> String {
    let address = device.address();
    wait_until("end on record", || {
        let history = server.history(client);
        history.end_of(&address).map(|end| end.reason.clone()).ok_or(history)
    })
}

/// Nothing has come to `device`: what is sent now to `topic` is the next that does.
fn assert_nothing_came(server: &Server, device: &mut Device, topic: &str) {
    let mut sender = Device::connect(server, &ops(Version::V311, "sender"));
    sender.send(&publish(Version::V311, topic, b"marker"));
    let (_, body) = device.receive();
    assert!(body.ends_with(b"marker"), "{body:?}");
}

fn listen_to(server: &Server, client: &str, filter: &str) -> Device {
    let mut device = Device::connect(server, &ops(Version::V311, client));
    device.send(&subscribe(Version::V311, filter));
    assert_eq!(device.receive().0, 0x90);
    device
}

#[test]
fn users_come_in_with_their_password_and_nobody_else() {
    let home = Home::new(CONFIG);
    let server = home.start();
    for version in VERSIONS {
        Device::connect(&server, &ops(version, "good"));
        let code = if version == Version::V5 { 0x86 } else { 4 };
        for (user, password) in [("ops", "Secret"), ("ops", ""), ("nobody", "secret"), ("pump", "secret")] {
            let connect = Connect::new(version, "bad").login(user, password);
            assert_eq!(refused(&server, &connect), (code, "bad-credentials".into()), "{user} {password}");
        }
        let code = if version == Version::V5 { 0x87 } else { 5 };
        assert_eq!(refused(&server, &Connect::new(version, "bad")), (code, "not-authorized".into()));
    }
    assert!(!server.log().contains("Secret"), "b92: no password in the log");
}

#[test]
fn b49_b50_a_wrong_password_publishes_no_will_and_touches_no_session() {
    let home = Home::new(CONFIG);
    let server = home.start();
    let mut victim = listen_to(&server, "victim", "will");
    let mut bad = Connect::new(Version::V311, "victim").login("ops", "wrong");
    bad.will_topic = Some("will");
    assert_eq!(refused(&server, &bad).1, "bad-credentials");
    bad.client = b"other".to_vec();
    let mut cut = Device::dial(&server);
    cut.send(&bad.bytes());
    drop(cut);
    server.history_with_ends("other", 1);
    assert_nothing_came(&server, &mut victim, "will");
}

#[test]
fn b52_b53_b58_wills_and_server_topics_are_asked_for_at_connect() {
    let home = Home::new(&format!(
        "{CONFIG}[[mqtt.rules]]\npublish = ['a/#', '#']\nsubscribe = ['a/#', '#']\n[[mqtt.rules]]\ndeny = true\npublish = ['b/#']\n"
    ));
    let server = home.start();
    for (topic, code, reason) in [
        ("b/will", 0x87, "will-not-authorized"),
        ("$CONTROL/x", 0x87, "will-not-authorized"),
        ("$SYS/will", 0x90, "bad-topic"),
    ] {
        let mut connect = ops(Version::V5, "willing");
        connect.will_topic = Some(topic);
        assert_eq!(refused(&server, &connect), (code, reason.into()), "{topic}");
    }
    for (client, bytes, reason) in [
        ("sys-sub", subscribe(Version::V311, "$SYS/#"), "subscribe-not-authorized"),
        ("sys-pub", publish(Version::V311, "$SYS/broker", b"x"), "bad-topic"),
        ("share", subscribe(Version::V311, "$share/a/$SYS/#"), "subscribe-not-authorized"),
    ] {
        let mut device = Device::connect(&server, &ops(Version::V311, client));
        device.send(&bytes);
        assert_eq!(end_of(&server, &device, client), reason);
    }
}

#[test]
fn b60_a_client_identifier_does_not_widen_its_rule() {
    let home = Home::new(&format!("{CONFIG}[[mqtt.rules]]\nsubscribe = ['d/%c/#']\npublish = ['d/%c/#']\n"));
    let server = home.start();
    for (client, filter) in [("#", "d/#"), ("+", "d/+/x"), ("%c", "d/victim/x"), ("a/../victim", "d/victim/x")] {
        let mut device = Device::connect(&server, &ops(Version::V311, client));
        device.send(&subscribe(Version::V311, filter));
        assert_eq!(end_of(&server, &device, client), "subscribe-not-authorized");
    }
    let mut own = Device::connect(&server, &ops(Version::V311, "own"));
    own.send(&subscribe(Version::V311, "d/own/#"));
    assert_eq!(own.receive().0, 0x90);
}

#[test]
fn b61_a_file_of_users_that_is_not_understood_changes_nothing_and_starts_nothing() {
    let home = Home::new(CONFIG);
    let server = home.start();
    let users = home.path().join("users");
    let mut stays = listen_to(&server, "stays", "t");
    for (text, said) in [
        ("", "no user is in it"),
        ("# nobody\n", "no user is in it"),
        ("ops:secret\n", "line 1"),
        (&*format!("{USERS}ops"), "line 5"),
        (&*"x".repeat(10_000), "longer"),
    ] {
        fs::write(&users, text).unwrap();
        let word = server.reload_users();
        assert!(word.contains("not reloaded") && word.contains(said) && word.contains("users"), "{word}");
        assert_nothing_came(&server, &mut stays, "t");
        let (code, message) = home.refused_start();
        assert!(code == Some(1) && message.contains(said), "{message}");
    }
    fs::remove_file(&users).unwrap();
    assert!(server.reload_users().contains("not reloaded"));
    assert_eq!(refused(&server, &Connect::new(Version::V311, "anonymous")).1, "not-authorized");
    assert!(home.refused_start().1.contains("mqtt.users_file"));
}

#[test]
fn b66_who_is_taken_out_disabled_changed_or_banned_is_out_at_once_and_the_rest_stays() {
    let home = Home::new(CONFIG);
    let server = home.start();
    let users = home.path().join("users");
    let mut watcher = listen_to(&server, "watcher", "will");
    let pump = |client: &str| {
        let mut connect = Connect::new(Version::V5, client).login("pump", "other");
        connect.will_topic = Some("will");
        Device::connect(&server, &connect)
    };
    assert!(server.reload_users().contains("\"ended\":0"), "nothing changed, nobody goes");

    let disabled = pump("disabled");
    fs::write(&users, USERS.replace("ED86V4", "ED86V4:disabled")).unwrap();
    assert!(server.reload_users().contains("\"ended\":1"));
    assert_eq!(end_of(&server, &disabled, "disabled"), "credentials-withdrawn");
    assert_eq!(refused(&server, &Connect::new(Version::V5, "d").login("pump", "other")).1, "bad-credentials");

    fs::write(&users, USERS).unwrap();
    server.reload_users();
    let changed = pump("changed");
    let secret = USERS.lines().find_map(|line| line.strip_prefix("ops:")).unwrap();
    let other = USERS.lines().find_map(|line| line.strip_prefix("pump:")).unwrap();
    fs::write(&users, USERS.replace(other, secret)).unwrap();
    server.reload_users();
    assert_eq!(end_of(&server, &changed, "changed"), "credentials-withdrawn");
    assert_eq!(refused(&server, &Connect::new(Version::V5, "d").login("pump", "other")).1, "bad-credentials");
    fs::write(&users, USERS).unwrap();
    server.reload_users();

    for (n, ban) in ["client = 'banned-*'", "user = 'pump'"].into_iter().enumerate() {
        let client = format!("banned-{n}");
        let mut banned = pump(&client);
        home.reconfigure(&format!("{CONFIG}[[mqtt.banned]]\n{ban}\n"));
        server.reload_users();
        assert_eq!(banned.receive(), (0xE0, vec![0x98, 0]), "MQTT 5.0 says why");
        assert_eq!(end_of(&server, &banned, &client), "banned");
        let again = Connect::new(Version::V311, &*client).login("pump", "other");
        assert_eq!(refused(&server, &again), (5, "banned".into()));
        home.reconfigure(CONFIG);
        server.reload_users();
    }
    assert_nothing_came(&server, &mut watcher, "will");
}

#[test]
fn b54_a_right_that_is_withdrawn_brings_no_message_more() {
    let home = Home::new(CONFIG);
    let server = home.start();
    let mut reader = listen_to(&server, "reader", "news/#");
    home.reconfigure(&format!("{CONFIG}[[mqtt.rules]]\nsubscribe = ['news/open']\npublish = ['#']\n"));
    assert!(server.reload_users().contains("\"rules\":1"));
    let mut sender = Device::connect(&server, &ops(Version::V311, "first"));
    sender.send(&publish(Version::V311, "news/secret", b"not for you"));
    assert_nothing_came(&server, &mut reader, "news/open");
}

#[test]
fn a_refusal_can_be_a_code() {
    let home =
        Home::new(&format!("{CONFIG}on_refusal = 'reason-code'\n[[mqtt.rules]]\npublish = ['a']\nsubscribe = ['a']\n"));
    let server = home.start();
    let mut watcher = listen_to(&server, "watcher", "a");
    for version in VERSIONS {
        let mut device = Device::connect(&server, &ops(version, "device"));
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        device.send(&packet(0x32, &[&*string("b"), &[0, 7], properties, b"x"].concat()));
        let expected = if version == Version::V5 { vec![0, 7, 0x87, 0] } else { vec![0, 7] };
        assert_eq!(device.receive(), (0x40, expected));
        let filters = [string("b"), vec![0], string("a"), vec![0]].concat();
        device.send(&packet(0x82, &[&[0, 1], properties, &*filters].concat()));
        let expected = if version == Version::V5 { vec![0, 1, 0, 0x87, 0] } else { vec![0, 1, 0x80, 0] };
        assert_eq!(device.receive(), (0x90, expected));
        device.send(&publish(version, "b", b"gone"));
        assert_nothing_came(&server, &mut watcher, "a");
    }
}

#[test]
fn b31_a_flood_of_wrong_passwords_is_refused_unheard_and_good_clients_come_in() {
    let home = Home::new(&format!("{CONFIG}max_failed_logins_per_s = 5\n"));
    let server = home.start();
    let connect = Connect::new(Version::V311, "attacker").login("ops", "guess");
    let reasons: Vec<_> = (0..20).map(|_| refused(&server, &connect).1).collect();
    assert_eq!(reasons[0], "bad-credentials");
    assert!(reasons.iter().any(|reason| reason == "rate-limited"), "{reasons:?}");
    let begun = Instant::now();
    loop {
        let mut device = Device::dial(&server);
        device.send(&ops(Version::V311, "good").bytes());
        if device.receive().1[1] == 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "a good client of the same address is kept out");
    }
    for _ in 0..100 {
        let mut bad = Device::dial(&server);
        bad.send(&connect.bytes());
        Device::connect(&server, &ops(Version::V311, "good")); // known to be right: not counted, not compared
    }
}

#[test]
fn b31_failures_of_an_address_count_together_at_all_listeners() {
    const TRIES: usize = 20;
    let listener = |name: &str| format!("[[mqtt.listeners]]\nname = '{name}'\nlisten = '127.0.0.1:0'\n");
    let listeners = ["one", "other"].map(listener).concat();
    let home = Home::new(&format!("{CONFIG}max_failed_logins_per_s = 1\n{listeners}"));
    let server = home.start_listeners();
    let begun = Instant::now();
    let mut heard = 0;
    for number in 0..TRIES {
        for listener in ["one", "other"] {
            let mut device = Device::dial_at(server.listener(listener)).unwrap();
            let client = format!("{listener}-{number}");
            device.send(&Connect::new(Version::V5, &client).login("ops", "guess").bytes());
            heard += u64::from(device.receive_until_closed()[3] == 0x86);
        }
    }
    let most = 5 + 1 + begun.elapsed().as_secs() + 1; // five at once, one a second, and the one that uses it up
    assert!((5..=most).contains(&heard), "{heard} of {} were heard, at most {most} may be", 2 * TRIES);
}

fn signature(secret: &str, client: &str) -> &'static str {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(client.as_bytes());
    BASE64.encode(mac.finalize().into_bytes()).leak()
}

#[test]
fn a_device_that_signs_comes_in_until_its_key_is_disabled() {
    let key = "[[access_keys]]\nid = 'LTAI'\nsecret = 's3cret'\n";
    let home = Home::new(key);
    let server = home.start();
    let name = "Signature|LTAI|mqtt-local";
    let client = "GID_a@@@1";
    let good = Connect::new(Version::V311, client).login(name, signature("s3cret", client));
    let device = Device::connect(&server, &good);
    for (user, password) in [
        (name, signature("s3cret", "GID_a@@@2")),
        (name, signature("other", client)),
        ("Signature|nobody|mqtt-local", signature("s3cret", client)),
        ("Token|LTAI|mqtt-local", "R|forged"),
        ("DeviceCredential|DC.x|mqtt-local", signature("s3cret", client)),
    ] {
        let bad = Connect::new(Version::V311, client).login(user, password);
        assert_eq!(refused(&server, &bad), (4, "bad-credentials".into()), "{user}");
    }
    let elsewhere = Connect::new(Version::V311, client).login("Signature|LTAI|other", signature("s3cret", client));
    assert_eq!(refused(&server, &elsewhere).1, "not-authorized");
    home.reconfigure(&format!("{key}enabled = false\n"));
    server.reload_users();
    assert_eq!(end_of(&server, &device, client), "credentials-withdrawn");
    assert_eq!(refused(&server, &good).1, "bad-credentials");
}

#[test]
fn a_key_that_is_disabled_is_out_though_the_file_of_users_can_t_be_read() {
    let key = "[[access_keys]]\nid = 'LTAI'\nsecret = 's3cret'\n";
    let users = "[mqtt]\nusers_file = 'users'\n";
    let home = Home::new(&format!("{key}{users}"));
    let server = home.start();
    let client = "GID_a@@@1";
    let good = Connect::new(Version::V311, client).login("Signature|LTAI|mqtt-local", signature("s3cret", client));
    let device = Device::connect(&server, &good);
    std::fs::write(home.path().join("users"), "no line of users").unwrap();
    home.reconfigure(&format!("{key}enabled = false\n{users}"));
    assert!(server.reload_users().contains("not reloaded"));
    assert_eq!(end_of(&server, &device, client), "credentials-withdrawn");
    assert_eq!(refused(&server, &good).1, "bad-credentials");
}

#[test]
fn groups_are_asked_for_when_they_are_listed() {
    let home = Home::new("[mqtt]\ngroups = ['GID_a']\n[[mqtt.rules]]\ngroups = ['GID_a']\npublish = ['a']\n");
    let server = home.start();
    assert_eq!(refused(&server, &Connect::new(Version::V311, "GID_b@@@1")).1, "not-authorized");
    assert_eq!(refused(&server, &Connect::new(Version::V311, "pump")).1, "not-authorized");
    let mut device = Device::connect(&server, &Connect::new(Version::V311, "GID_a@@@1"));
    device.send(&publish(Version::V311, "a", b"x"));
    device.send(&publish(Version::V311, "b", b"x"));
    assert_eq!(end_of(&server, &device, "GID_a@@@1"), "publish-not-authorized");
}
