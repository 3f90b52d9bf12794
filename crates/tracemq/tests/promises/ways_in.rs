//! Several listeners: each has its name on record and its instance, and nothing crosses from one instance to another.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::harness::{
    Authority, Connect, Home, PATIENCE, Version, finish_within, nameless_end, packet, publish, string, subscribe,
    tracemq, wait_until,
};

const TWO_INSTANCES: &str = "
[[mqtt.listeners]]
name = 'north'
listen = '127.0.0.1:0'

[[mqtt.listeners]]
name = 'south'
listen = '127.0.0.1:0'
instance = 'mqtt-south'

[[mqtt.listeners]]
name = 'south-v6'
listen = '[::1]:0'
instance = 'mqtt-south'
max_connections = 1
";

fn join(address: SocketAddr, client: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&Connect::new(Version::V311, client).bytes()).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

#[test]
fn instances_are_separate_worlds_and_listeners_of_one_instance_are_the_same() {
    let home = Home::new(TWO_INSTANCES);
    let server = home.start_listeners();
    let (north, south) = (server.listener("north"), server.listener("south"));
    let mut reader = join(south, "reader");
    reader.write_all(&subscribe(Version::V311, "#")).unwrap();
    reader.read_exact(&mut [0; 5]).unwrap();

    // The same client identifier, in another instance: nobody is taken over, nothing is heard.
    let mut stranger = join(north, "reader");
    stranger.write_all(&publish(Version::V311, "a", b"from the north")).unwrap();
    let mut sixth = join(server.listener("south-v6"), "sixth");
    sixth.write_all(&publish(Version::V311, "a", b"from the south")).unwrap();
    let mut heard = [0; 19];
    reader.read_exact(&mut heard).unwrap();
    assert!(heard.ends_with(b"from the south"), "{heard:?}");

    for mut stream in [reader, stranger, sixth] {
        stream.write_all(&[0xE0, 0]).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    for (instance, own, other) in [("mqtt-local", "north", "south"), ("mqtt-south", "south", "north")] {
        let body = wait_until("end of both readers", || {
            let body = server.rest(&format!("/api/v1/clients/reader/events?instance={instance}")).unwrap().body;
            if body.contains("client-disconnected") { Ok(body) } else { Err(body) }
        });
        assert!(body.contains(&format!("\"listener\":\"{own}\"")) && !body.contains(other), "{body}");
        assert!(!body.contains("session-taken-over"), "{body}");
        let mut history = tracemq();
        history.args(["history", "reader", "--instance", instance, "-D"]).arg(home.data_dir());
        let told = finish_within(PATIENCE, &mut history);
        assert!(String::from_utf8_lossy(&told.stdout).contains(&format!("\"instance\":\"{instance}\"")), "{told:?}");
    }
}

#[test]
fn b34_a_full_listener_turns_away_and_takes_again_and_the_others_are_not_full() {
    let config = "
        [[mqtt.listeners]]
        name = 'small'
        listen = '127.0.0.1:0'
        max_connections = 1

        [[mqtt.listeners]]
        name = 'large'
        listen = '127.0.0.1:0'
    ";
    let home = Home::new(config);
    let server = home.start_listeners();
    let first = join(server.listener("small"), "first");
    let mut second = TcpStream::connect(server.listener("small")).unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(second.read(&mut [0; 1]).unwrap_or(0), 0);
    let end = nameless_end(&server, second.local_addr().unwrap());
    assert_eq!((&*end.reason, end.listener.as_deref()), ("server-overloaded", Some("small")));
    drop(join(server.listener("large"), "elsewhere"));
    drop(first);
    server.history_with_ends("first", 1);
    drop(join(server.listener("small"), "third"));
    server.history_with_ends("third", 1);
}

// MQTT 3.1.1: 7.1.1-1
// MQTT 5.0: 4.2.0-1
#[test]
fn b34_each_kind_of_listener_counts_a_connection_once_and_lets_it_go_once() {
    let mut config = String::new();
    for kind in ["tcp", "tls", "ws", "wss"] {
        let is_tls = matches!(kind, "tls" | "wss");
        let tls = if is_tls { "tls = { cert = 'server.pem', key = 'server.key' }" } else { "" };
        config += &format!(
            "[[mqtt.listeners]]\nname = '{kind}'\nlisten = '127.0.0.1:0'\ntransport = '{kind}'\nmax_connections = 1\n{tls}\n"
        );
    }
    let home = Home::new(&config);
    Authority::new("our CA").server("the server").save(home.path(), "server");
    let server = home.start_listeners();
    let connections = |count: usize| {
        wait_until("count of connections", || {
            let metrics = server.rest("/metrics").unwrap().body;
            if metrics.contains(&format!("tracemq_connections {count}\n")) { Ok(()) } else { Err(metrics) }
        });
    };
    for kind in ["tcp", "tls", "ws", "wss"] {
        for _ in 0..3 {
            let first = TcpStream::connect(server.listener(kind)).unwrap();
            connections(1);
            let mut second = TcpStream::connect(server.listener(kind)).unwrap();
            second.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(second.read(&mut [0; 1]).unwrap_or(0), 0);
            let end = nameless_end(&server, second.local_addr().unwrap());
            assert_eq!((&*end.reason, end.listener.as_deref()), ("server-overloaded", Some(kind)));
            drop(first);
            connections(0);
        }
    }
}

#[test]
fn b38_what_can_t_listen_is_one_line_and_leaves_nothing_behind() {
    let home = Home::new(
        "[[mqtt.listeners]]\nname = 'a'\nlisten = '127.0.0.1:0'\ntransport = 'tls'\ntls = { cert = 'none.pem', key = 'none.key' }",
    );
    let mut command = tracemq();
    command.current_dir(home.path()).args(["serve", "--config", "tracemq.toml", "--http", "127.0.0.1:0"]);
    let output = finish_within(PATIENCE, command.arg("--data-dir").arg(home.data_dir()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("`a`") && said.contains("none.pem"), "{said}");
    assert!(!home.data_dir().exists());
    let both = finish_within(PATIENCE, &mut home.serve_command());
    assert!(String::from_utf8_lossy(&both.stderr).contains("--mqtt"), "{both:?}");
}

#[test]
fn b56_b62_rules_hold_on_every_listener_and_no_filter_is_wider_than_they_are() {
    let config = "
[mqtt]
users_file = 'users'

[[mqtt.rules]]
users = ['ops']
publish = ['#']
subscribe = ['a/b']

[[mqtt.listeners]]
name = 'first'
listen = '127.0.0.1:0'

[[mqtt.listeners]]
name = 'second'
listen = '[::1]:0'
max_connections = 50
";
    let home = Home::new(config);
    let server = home.start_listeners();
    for listener in ["first", "second"] {
        let talk = |client: &str, password: &'static str, bytes: &[u8]| {
            let mut stream = TcpStream::connect(server.listener(listener)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let hello = Connect::new(Version::V311, client).login("ops", password);
            stream.write_all(&[&*hello.bytes(), bytes].concat()).unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            let history = server.history_with_ends(client, 1);
            (heard, history.items.last().unwrap().reason.clone())
        };
        let retained = packet(0x31, &[&*string("a/c"), b"secret"].concat());
        let (_, reason) = talk(&format!("publisher-{listener}"), "secret", &[&*retained, &[0xE0, 0]].concat());
        assert_eq!(reason, "client-disconnected");
        for (number, filter) in ["#", "+/b", "a/#", "a/+", "+/+", "$share/g/#", "$share/a/b/#"].into_iter().enumerate()
        {
            let bytes = [&*subscribe(Version::V311, filter), &[0xE0, 0]].concat();
            let (heard, reason) = talk(&format!("wide-{listener}-{number}"), "secret", &bytes);
            assert_eq!((heard.len(), &*reason), (4, "subscribe-not-authorized"), "{filter}");
        }
        let bytes = [&*subscribe(Version::V311, "a/b"), &[0xE0, 0]].concat();
        assert_eq!(talk(&format!("narrow-{listener}"), "secret", &bytes).1, "client-disconnected");
        assert_eq!(talk(&format!("wrong-{listener}"), "guess", &[]).1, "bad-credentials");
    }
}
