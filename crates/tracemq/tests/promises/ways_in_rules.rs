//! Promise: a topic rule of one listener or instance is for those who come in there, and for nobody else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::harness::{
    Connect, Event, Home, PATIENCE, Server, Version, finish_within, publish, subscribe, tracemq, wait_until,
};

const WAYS_IN: &str = "
[[mqtt.listeners]]
name = 'field'
listen = '127.0.0.1:0'

[[mqtt.listeners]]
name = 'office'
listen = '127.0.0.1:0'

[[mqtt.listeners]]
name = 'south'
listen = '127.0.0.1:0'
instance = 'mqtt-south'
";

const RULES: &str = "
[[mqtt.rules]]
listeners = ['field']
publish = ['up/%c']

[[mqtt.rules]]
listeners = ['office']
publish = ['#']
subscribe = ['#']

[[mqtt.rules]]
instances = ['mqtt-south']
subscribe = ['south/#']
";

struct Client {
    stream: TcpStream,
    name: &'static str,
}

impl Client {
    fn join(address: SocketAddr, name: &'static str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self { stream, name };
        client.stream.write_all(&Connect::new(Version::V311, name).bytes()).unwrap();
        assert_eq!(client.receive(), [0x20, 2, 0, 0]);
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 2];
        self.stream.read_exact(&mut packet).unwrap();
        packet.resize(2 + usize::from(packet[1]), 0);
        self.stream.read_exact(&mut packet[2..]).unwrap();
        packet
    }

    /// What ended its connection.
    fn end(&self, server: &Server, instance: &str) -> Event {
        let address = self.stream.local_addr().unwrap().to_string();
        wait_until("end on record", || {
            let target = format!("/api/v1/clients/{}/events?instance={instance}", self.name);
            let body = server.rest(&target).unwrap().body;
            let mut items = serde_json::from_str::<serde_json::Value>(&body).unwrap()["items"].take();
            let ended = items.as_array_mut().into_iter().flatten().find_map(|item| {
                let event: Event = serde_json::from_value(item.take()).unwrap();
                (event.is_end() && event.peer.as_deref() == Some(&address)).then_some(event)
            });
            ended.ok_or(body)
        })
    }
}

#[test]
fn each_listener_and_each_instance_has_its_own_rules_and_a_reload_changes_them() {
    let home = Home::new(&(WAYS_IN.to_owned() + RULES));
    let server = home.start_listeners();
    let [field, office, south] = ["field", "office", "south"].map(|name| server.listener(name));
    let mut reader = Client::join(office, "reader");
    reader.send(&subscribe(Version::V311, "#"));
    assert_eq!(reader.receive()[0], 0x90);
    let mut pump = Client::join(field, "pump");
    pump.send(&publish(Version::V311, "up/pump", b"7"));
    assert!(reader.receive().ends_with(b"up/pump7"));

    // The same client has at one way in what it has not at another.
    pump.send(&publish(Version::V311, "up/other", b"7"));
    let end = pump.end(&server, "mqtt-local");
    assert_eq!((&*end.reason, end.listener.as_deref()), ("publish-not-authorized", Some("field")));
    let mut pump = Client::join(office, "pump");
    pump.send(&publish(Version::V311, "up/other", b"8"));
    assert!(reader.receive().ends_with(b"up/other8"));

    let mut southern = Client::join(south, "southern");
    southern.send(&subscribe(Version::V311, "south/a"));
    assert_eq!(southern.receive()[0], 0x90);
    southern.send(&publish(Version::V311, "up/southern", b"9"));
    assert_eq!(southern.end(&server, "mqtt-south").reason, "publish-not-authorized");

    let told = |rules: &str| {
        home.reconfigure(&(WAYS_IN.to_owned() + rules));
        server.reload_users()
    };
    let mut pump = Client::join(field, "pump");
    let line = told(&RULES.replace("up/%c", "higher/%c"));
    assert!(line.contains("reloaded"), "{line}");
    pump.send(&publish(Version::V311, "higher/pump", b"10"));
    assert!(reader.receive().ends_with(b"higher/pump10"));
    let line = told(&RULES.replace("'field'", "'fjeld'"));
    assert!(line.contains("the old ones stay in force"), "{line}");
    pump.send(&publish(Version::V311, "higher/pump", b"11"));
    assert!(reader.receive().ends_with(b"higher/pump11"), "what was in force stays");
}

#[test]
fn rules_that_name_no_listener_or_leave_one_without_are_refused_with_a_way_out() {
    let check = |rules: &str| {
        let home = Home::new(&(WAYS_IN.to_owned() + rules));
        let mut check = tracemq();
        check.current_dir(home.path()).args(["config", "check", "--config", "tracemq.toml"]);
        let output = finish_within(PATIENCE, &mut check);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(check(RULES).0);
    let (good, told) = check(&RULES.replace("'field'", "'fjeld'"));
    assert!(
        !good && told.contains("mqtt.rules: rule 1: listeners: there is no listener `fjeld`; there are `field`"),
        "{told}"
    );
    let (good, told) = check(&RULES.replace("'mqtt-south'", "'mqtt-north'"));
    assert!(!good && told.contains("mqtt.rules: rule 3: instances: there is no instance `mqtt-north`"), "{told}");
    let (good, told) = check(&RULES.replace("'office'", "'field'"));
    assert!(!good && told.contains("no rule is for clients of the listener `office`"), "{told}");
    assert!(told.contains("listeners = [\"office\"], publish = [\"#\"]"), "{told}");
}
