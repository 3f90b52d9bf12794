//! HTTP over TLS: the same API, certificates that are read again while it runs, and policies that ask for TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::harness::{
    Authority, Connect, Home, PATIENCE, Paper, Server, Version, basic, client_config, finish_within, get, tls, tracemq,
    wait_until,
};

const CONFIG: &str = "
[http]
tls = { cert = 'server.pem', key = 'server.key' }
";

struct World {
    home: Home,
    own: Authority,
}

impl World {
    fn new(config: &str) -> (Self, Server) {
        let home = Home::new(config);
        let own = Authority::new("our CA");
        own.server("the server").save(home.path(), "server");
        fs::write(home.path().join("ca.pem"), own.pem()).unwrap();
        let server = home.start();
        (Self { home, own }, server)
    }

    /// The whole answer to `GET target`, and whether the certificate names `common_name`.
    fn ask(&self, server: &Server, target: &str, login: &str, common_name: &str) -> (String, bool) {
        let mut stream = tls(server.http, client_config(&self.own, None));
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{login}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap(); // fails without a close_notify: nothing was cut off
        let shown = stream.conn.peer_certificates().unwrap()[0].to_vec();
        (answer, shown.windows(common_name.len()).any(|window| window == common_name.as_bytes()))
    }

    /// A command that asks the server by its name.
    fn command(&self, server: &Server, words: &[&str]) -> Command {
        let mut command = tracemq();
        command.current_dir(self.home.path()).args(words).arg("-D").arg(&server.data);
        command.arg("--url").arg(format!("https://localhost:{}", server.http.port()));
        command
    }
}

#[test]
fn the_same_api_is_served_over_tls_and_whoever_speaks_plain_is_told() {
    let (world, mut server) = World::new(CONFIG);
    let url = format!("https://{}", server.http);
    assert!(server.said().contains(&url), "{}", server.said());
    let (answer, _) = world.ask(&server, "/livez", "", "the server");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");

    let plain = get(server.http, "/api/v1/gaps", &[]).unwrap();
    assert_eq!(plain.status, 400);
    assert!(plain.body.contains("tls-required") && plain.body.contains("https://"), "{}", plain.body);
    // Also with a good key: what crossed the network in the clear is not answered as if it were right.
    let own = server.credentials();
    let login = basic(&own.access_key_id, &own.access_key_secret);
    let plain = get(server.http, "/api/v1/gaps", &[("Authorization", &login)]).unwrap();
    assert_eq!(plain.status, 400, "{}", plain.body);
    let mut noise = TcpStream::connect(server.http).unwrap();
    noise.set_read_timeout(Some(PATIENCE)).unwrap();
    noise.write_all(b"\x16\x03\x01\x00\x05hello").unwrap();
    let _ = noise.read_to_end(&mut Vec::new()); // closed, with an alert
    wait_until("the failed handshake among the numbers, and until when the certificate is good", || {
        let page = world.ask(&server, "/metrics", "", "the server").0;
        let wanted = [
            "tracemq_http_handshakes_failed_total 1",
            "tracemq_certificate_expiry_timestamp_seconds{listener=\"[http]\"} 4102358400", // 2099-12-31
        ];
        if wanted.iter().all(|line| page.lines().any(|found| found == *line)) { Ok(()) } else { Err(page) }
    });
}

#[test]
fn commands_reach_it_with_its_ca_and_say_what_is_missing_without() {
    let (world, server) = World::new(CONFIG);
    let mut device = TcpStream::connect(server.mqtt).unwrap();
    device.write_all(&Connect::new(Version::V311, "pump").bytes()).unwrap();
    device.read_exact(&mut [0; 4]).unwrap();

    for words in [&["history", "pump"][..], &["clients"], &["kick", "nobody"]] {
        let output = finish_within(PATIENCE, &mut world.command(&server, words));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{words:?}: {said}");
        assert!(said.contains("--ca FILE"), "{words:?}: {said}");
    }
    for ca in ["nowhere.pem", "server.key"] {
        let output = finish_within(PATIENCE, world.command(&server, &["clients"]).args(["--ca", ca]));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("--ca") && said.contains(ca), "{said}");
    }
    let listed = finish_within(PATIENCE, world.command(&server, &["clients"]).args(["--ca", "ca.pem"]));
    assert!(String::from_utf8_lossy(&listed.stdout).contains("\"client\":\"pump\""), "{listed:?}");
    let kicked = finish_within(PATIENCE, world.command(&server, &["kick", "pump"]).env("TRACEMQ_CA", "ca.pem"));
    assert_eq!(String::from_utf8_lossy(&kicked.stdout), "1 ended\n", "{kicked:?}");
    wait_until("the end on record", || {
        let output = finish_within(PATIENCE, world.command(&server, &["history", "pump"]).args(["--ca", "ca.pem"]));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && said.contains("kicked") { Ok(()) } else { Err(said) }
    });
    // The certificate has a name and no address: who asks by address is told to use the name.
    let mut command = tracemq();
    command.current_dir(world.home.path()).args(["clients", "--ca", "ca.pem", "-D"]).arg(&server.data);
    let output = finish_within(PATIENCE, &mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(5) && said.contains("https://NAME:PORT"), "{said}");
}

#[test]
fn a_certificate_that_says_it_is_a_ca_s_is_told_with_the_way_out() {
    let (world, server) = World::new(CONFIG);
    Authority::new("localhost").itself().save(world.home.path(), "server");
    server.hang_up();
    wait_until("what is said of a CA's certificate", || {
        let output = finish_within(PATIENCE, world.command(&server, &["clients"]).args(["--ca", "server.pem"]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("CA:FALSE") { Ok(()) } else { Err(said) }
    });
}

#[test]
fn a_changed_certificate_is_served_after_a_hangup_and_one_that_is_not_whole_never() {
    let (world, server) = World::new(CONFIG);
    let is_served = |common_name: &str| world.ask(&server, "/livez", "", common_name).1;
    let lines = |word: &str| server.log().matches(word).count();
    let hang_up_until = |word: &str| {
        let before = lines(word);
        server.hang_up();
        wait_until(word, || if lines(word) > before { Ok(()) } else { Err(server.log()) });
    };
    assert!(is_served("the server"));
    let mut kept = tls(server.http, client_config(&world.own, None));
    let mut ask_again = || {
        kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"alive\n") {
            let mut byte = [0];
            kept.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    };
    ask_again();

    let cert = world.home.path().join("server.pem");
    let new = world.own.server("its successor");
    // With the old key it is no pair, half of it is nothing whole, and none is none.
    for bad in [Some(&*new.cert), Some(&new.cert[..new.cert.len() / 2]), None] {
        match bad {
            Some(text) => fs::write(&cert, text).unwrap(),
            None => fs::remove_file(&cert).unwrap(),
        }
        hang_up_until("certificates not reloaded");
        assert!(is_served("the server"), "after {bad:?}");
    }
    new.save(world.home.path(), "server");
    hang_up_until("\"certificates reloaded");
    assert!(is_served("its successor") && !is_served("the server"));
    ask_again();
}

#[test]
fn a_policy_that_asks_for_tls_holds() {
    let policy = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"acs:SecureTransport":"true"}}}]}"#;
    let key = format!("[[access_keys]]\nid = 'careful'\nsecret = 'sekrit'\npolicy = '{policy}'\n");
    // careful:sekrit
    let login = "Authorization: Basic Y2FyZWZ1bDpzZWtyaXQ=";
    let (world, server) = World::new(&format!("{CONFIG}{key}"));
    let (answer, _) = world.ask(&server, "/api/v1/gaps", &format!("{login}\r\n"), "the server");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let home = Home::new(&key);
    let plain = home.start();
    let (name, value) = login.split_once(": ").unwrap();
    for more in [&[][..], &[("X-Forwarded-Proto", "https")]] {
        let answer = get(plain.http, "/api/v1/gaps", &[&[(name, value)][..], more].concat()).unwrap();
        assert_eq!(answer.status, 403, "{}", answer.body);
    }
}

#[test]
fn a_certificate_that_can_t_be_used_is_told_before_anything_is_changed() {
    let home = Home::new(CONFIG);
    let (status, said) = home.refused_start();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("http.tls") && said.contains("server.pem"), "{said}");
    assert!(!home.data_dir().exists(), "a data folder was made");
    let mut check = tracemq();
    check.current_dir(home.path()).args(["config", "check", "--config", "tracemq.toml"]);
    let said = String::from_utf8_lossy(&finish_within(PATIENCE, &mut check).stderr).into_owned();
    assert!(said.contains("http.tls"), "{said}");
}

#[test]
fn a_caller_without_a_certificate_does_not_come_in_where_one_is_asked_for() {
    let devices = Authority::new("callers");
    let config = "[http.tls]\ncert = 'server.pem'\nkey = 'server.key'\nclient_ca = 'callers.pem'\nclient_certificate = 'required'\n";
    let home = Home::new(config);
    let own = Authority::new("our CA");
    own.server("the server").save(home.path(), "server");
    fs::write(home.path().join("callers.pem"), devices.pem()).unwrap();
    let server = home.start();
    let asked = |paper: Option<&Paper>| {
        let mut stream = tls(server.http, client_config(&own, paper));
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        let _ = stream.write_all(request).and_then(|()| stream.read_to_string(&mut answer));
        answer
    };
    let stranger = own.client("stranger", 2098);
    assert!(asked(Some(&devices.client("console", 2098))).ends_with("alive\n"));
    assert_eq!(asked(Some(&stranger)), "");
    assert_eq!(asked(None), "");
}

#[test]
fn http_that_others_can_reach_without_tls_starts_and_says_so() {
    let started = |config: &str| {
        let home = Home::new(config);
        Authority::new("our CA").server("the server").save(home.path(), "server");
        let mut command = tracemq();
        command.current_dir(home.path()).args(["serve", "--config", "tracemq.toml", "--data-dir", "data"]);
        command.args(["--mqtt", "127.0.0.1:0", "--http", "0.0.0.0:0"]);
        let server = home.start_command(command);
        let is_warned = server.log().contains("secrets cross it unencrypted");
        drop(server);
        is_warned
    };
    assert!(started(""));
    assert!(!started(CONFIG));
}
