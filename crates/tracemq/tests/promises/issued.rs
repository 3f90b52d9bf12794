//! Promise: devices come in by what the server gave out to them, after any stop, and are out when it is taken back; the
//! record says why, and neither the log nor the file of tokens holds anything to come in by.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::harness::{
    Connect, Device, Event, Home, PATIENCE, Server, Version, finish_within, now_ms, packet, publish, string, tracemq,
    wait_until,
};

const CLIENT: &str = "GID_a@@@1";

fn kept(text: String) -> &'static str {
    text.leak()
}

/// A token for the topics under `a/`, that lives for some minutes.
fn apply(server: &Server, actions: &str) -> String {
    let expires = (now_ms() + 600_000).to_string();
    let given = server.operate("ApplyToken", &[("Actions", actions), ("ExpireTime", &expires), ("Resources", "a/#")]);
    given.unwrap()["Token"].as_str().unwrap().to_owned()
}

fn by_token(server: &Server, client: &str, password: String) -> Connect {
    let user = format!("Token|{}|mqtt-local", server.credentials().access_key_id);
    Connect::new(Version::V311, client).login(kept(user), kept(password))
}

/// An operation on the credential of [`CLIENT`]: its key id and secret.
fn device(server: &Server, action: &str) -> Result<(String, String), String> {
    let answer = server.operate(action, &[("ClientId", CLIENT)])?;
    let member = |name| answer["DeviceCredential"][name].as_str().unwrap_or_default().to_owned();
    Ok((member("DeviceAccessKeyId"), member("DeviceAccessKeySecret")))
}

fn by_credential((id, secret): &(String, String)) -> Connect {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(CLIENT.as_bytes());
    let password = BASE64.encode(mac.finalize().into_bytes());
    Connect::new(Version::V311, CLIENT).login(kept(format!("DeviceCredential|{id}|mqtt-local")), kept(password))
}

fn end_of(server: &Server, device: &Device, client: &str) -> Event {
    let address = device.address();
    wait_until("end on record", || {
        let history = server.history(client);
        history.end_of(&address).cloned().ok_or(history)
    })
}

fn assert_end(server: &Server, device: &Device, client: &str, reason: &str, detail: &str) {
    let end = end_of(server, device, client);
    let said = end.detail.unwrap_or_default();
    assert!(end.reason == reason && said.contains(detail), "{}: {said}", end.reason);
}

fn assert_out(server: &Server, connect: &Connect) {
    let mut device = Device::dial(server);
    device.send(&connect.bytes());
    assert_eq!(device.receive_until_closed(), [0x20, 2, 0, 4]);
}

#[test]
fn a_token_opens_its_topics_until_it_is_revoked() {
    let home = Home::new("");
    let server = home.start();
    let (read, both) = (apply(&server, "R"), apply(&server, "R,W"));
    let mut writer = Device::connect(&server, &by_token(&server, "writer", format!("RW|{both}")));
    let mut reader = Device::connect(&server, &by_token(&server, "reader", format!("R|{read}")));
    reader.send(&packet(0x82, &[&[0, 1][..], &string("a/#"), &[0]].concat()));
    assert_eq!(reader.receive(), (0x90, vec![0, 1, 0]));
    writer.send(&publish(Version::V311, "a/b", b"hello"));
    assert!(reader.receive().1.ends_with(b"hello"));
    let other = Device::connect(&server, &by_token(&server, "other", format!("W|{both}")));
    server.operate("RevokeToken", &[("Token", &read)]).unwrap();
    assert_end(&server, &reader, "reader", "credentials-withdrawn", "its token was revoked");
    assert_out(&server, &by_token(&server, "reader", format!("R|{read}")));
    writer.send(&publish(Version::V311, "b", b"hello"));
    assert_end(&server, &writer, "writer", "publish-not-authorized", "\"b\"");
    server.operate("RevokeToken", &[("Token", &both)]).unwrap();
    assert_end(&server, &other, "other", "credentials-withdrawn", "its token was revoked");
}

/// As `docs/access.md` says: a rule that only takes away is one for the listener, and a token needs none that gives.
#[test]
fn a_listener_for_tokens_alone_needs_no_rule_that_allows_anything() {
    let config = |rule: &str| {
        format!(
            "
        [mqtt]
        users_file = 'users'

        [[mqtt.listeners]]
        name = 'office'
        listen = '127.0.0.1:0'

        [[mqtt.listeners]]
        name = 'tokens'
        listen = '127.0.0.1:0'

        [[mqtt.rules]]
        listeners = ['office']
        publish = ['#']
        {rule}
    "
        )
    };
    let home = Home::new(&config(""));
    let mut check = tracemq();
    let output =
        finish_within(PATIENCE, check.args(["config", "check", "--config"]).arg(home.path().join("tracemq.toml")));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("listener `tokens`"), "{said}");
    home.reconfigure(&config("[[mqtt.rules]]\nlisteners = ['tokens']\ndeny = true\npublish = ['$SYS/#']"));
    let server = home.start_listeners();
    let token = apply(&server, "R,W");
    let at = |connect: &Connect| {
        let mut device = Device::dial_at(server.listener("tokens")).unwrap();
        device.send(&connect.bytes());
        assert_eq!(device.receive(), (0x20, vec![0, 0]));
        device
    };
    let mut with_token = at(&by_token(&server, "pump", format!("RW|{token}")));
    with_token.send(&packet(0x82, &[&[0, 1][..], &string("a/#"), &[0]].concat()));
    assert_eq!(with_token.receive(), (0x90, vec![0, 1, 0]));
    with_token.send(&publish(Version::V311, "a/b", b"hello"));
    assert!(with_token.receive().1.ends_with(b"hello"));
    let mut by_password = at(&Connect::new(Version::V311, "desk").login("ops", "secret"));
    by_password.send(&publish(Version::V311, "a/b", b"hello"));
    assert_end(&server, &by_password, "desk", "publish-not-authorized", "\"a/b\"");
}

#[test]
fn a_device_is_out_when_its_credential_is_refreshed_registered_anew_or_taken_away() {
    let home = Home::new("");
    let server = home.start();
    let mut credential = device(&server, "RegisterDeviceCredential").unwrap();
    for (action, said) in [
        ("RefreshDeviceCredential", "refreshed"),
        ("RegisterDeviceCredential", "registered anew"),
        ("UnRegisterDeviceCredential", "taken away"),
    ] {
        let pump = Device::connect(&server, &by_credential(&credential));
        let next = device(&server, action).unwrap();
        assert_end(&server, &pump, CLIENT, "credentials-withdrawn", said);
        assert_out(&server, &by_credential(&credential));
        credential = next;
    }
    assert_eq!(device(&server, "GetDeviceCredential").unwrap_err(), "ParameterCheckFailed");
}

#[test]
fn what_was_given_out_and_taken_back_outlives_a_kill() {
    let home = Home::new("");
    let mut server = home.start();
    let (good, revoked) = (apply(&server, "R,W"), apply(&server, "R,W"));
    let old = device(&server, "RegisterDeviceCredential").unwrap();
    let new = device(&server, "RefreshDeviceCredential").unwrap();
    server.operate("RevokeToken", &[("Token", &revoked)]).unwrap();
    server.kill();
    let log = server.log();
    for secret in [&good, &revoked, &old.1, &new.1] {
        assert!(!log.contains(secret), "in the log");
    }
    for (file, mode) in [("mqtt-tokens", 0o600), ("mqtt-devices", 0o600)] {
        let path = home.data_dir().join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
    let tokens = fs::read_to_string(home.data_dir().join("mqtt-tokens")).unwrap();
    assert!(!tokens.contains(&good) && !tokens.contains(&revoked), "{tokens}");

    // As if it had been killed in the middle of a write.
    fs::write(home.data_dir().join("mqtt-tokens"), tokens + "{\"digest\":\"00").unwrap();
    let server = home.start();
    Device::connect(&server, &by_token(&server, "t", format!("RW|{good}"))).close();
    Device::connect(&server, &by_credential(&new)).close();
    assert_out(&server, &by_token(&server, "t", format!("RW|{revoked}")));
    assert_out(&server, &by_credential(&old));
    assert_eq!(device(&server, "GetDeviceCredential"), Ok(new));
    let later = apply(&server, "R");
    let status = |token: &str| server.operate("QueryToken", &[("Token", token)]).unwrap()["TokenStatus"].as_bool();
    assert_eq!([&good, &revoked, &later].map(|token| status(token).unwrap()), [true, false, true]);
}

#[test]
fn a_book_that_is_damaged_is_named_with_its_line_and_nothing_starts() {
    let home = Home::new("");
    let mut server = home.start();
    apply(&server, "R");
    server.stop();
    let path = home.data_dir().join("mqtt-tokens");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "{}\n").unwrap();
    let (_, said) = home.refused_start();
    assert!(said.contains("mqtt-tokens: line 2"), "{said}");
}
