//! Promise: the client library most used in Rust, rumqttc, works unchanged in 3.1.1 and 5.0: every QoS both ways, retained
//! messages, wills, sessions over a restart of the server, TLS.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{TlsConfiguration, Transport};

use super::harness::{Authority, Home, PATIENCE, client_config};

const TLS: &str = "
[[mqtt.listeners]]
name = 'mqtt'
listen = '127.0.0.1:0'
transport = 'tls'
tls = { cert = 'server.pem', key = 'server.key' }
";

/// What arrived, the same in both versions.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Heard {
    topic: String,
    qos: u8,
    retain: bool,
    payload: String,
}

fn heard(topic: &str, qos: u8, retain: bool, payload: &str) -> Heard {
    Heard { topic: topic.into(), qos, retain, payload: payload.into() }
}

/// The tests of one version: the two halves of rumqttc have the same names for different types.
macro_rules! works {
    ($version:ident: $($client:ident)::+, $($packets:ident)::+, $($qos:ident)::+, $will:expr, $keep:expr) => {
        mod $version {
            use $($client)::+::{Client, Connection, Event, MqttOptions};
            use $($packets)::+::Packet;
            use $($qos)::+::QoS;

            use super::*;

            const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

            struct Peer {
                client: Client,
                connection: Connection,
                session_present: bool,
            }

            fn options(address: SocketAddr, name: &str) -> MqttOptions {
                let mut options = MqttOptions::new(name, address.ip().to_string(), address.port());
                options.set_keep_alive(Duration::from_secs(30));
                options
            }

            fn lasting(mut options: MqttOptions) -> MqttOptions {
                $keep(&mut options);
                options
            }

            impl Peer {
                fn connect(options: MqttOptions) -> Self {
                    let (client, connection) = Client::new(options, 100);
                    let mut peer = Self { client, connection, session_present: false };
                    let Packet::ConnAck(connack) = peer.until(|packet| matches!(packet, Packet::ConnAck(_))) else {
                        unreachable!()
                    };
                    peer.session_present = connack.session_present;
                    peer
                }

                fn until(&mut self, mut wanted: impl FnMut(&Packet) -> bool) -> Packet {
                    loop {
                        match self.connection.recv_timeout(PATIENCE) {
                            Ok(Ok(Event::Incoming(packet))) if wanted(&packet) => return packet,
                            Ok(Ok(_)) => {}
                            other => panic!("not what was waited for: {other:?}"),
                        }
                    }
                }

                fn subscribe(&mut self, filter: &str, qos: QoS) {
                    self.client.subscribe(filter, qos).unwrap();
                    self.until(|packet| matches!(packet, Packet::SubAck(_)));
                }

                /// Publishes, and waits for what its QoS promises.
                fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: &str) {
                    self.client.publish(topic, qos, retain, payload.to_owned()).unwrap();
                    match qos {
                        QoS::AtMostOnce => {
                            // It is out when something behind it is answered.
                            self.client.subscribe("out", QoS::AtMostOnce).unwrap();
                            self.until(|packet| matches!(packet, Packet::SubAck(_)));
                        }
                        QoS::AtLeastOnce => drop(self.until(|packet| matches!(packet, Packet::PubAck(_)))),
                        QoS::ExactlyOnce => drop(self.until(|packet| matches!(packet, Packet::PubComp(_)))),
                    }
                }

                fn hear(&mut self) -> Heard {
                    let Packet::Publish(got) = self.until(|packet| matches!(packet, Packet::Publish(_))) else {
                        unreachable!()
                    };
                    let topic = String::from_utf8(got.topic.into()).unwrap();
                    let payload = String::from_utf8(got.payload.to_vec()).unwrap();
                    Heard { topic, qos: got.qos as u8, retain: got.retain, payload }
                }

                fn hear_all(&mut self, count: usize) -> Vec<Heard> {
                    let mut all: Vec<_> = (0..count).map(|_| self.hear()).collect();
                    all.sort();
                    all
                }

                /// A DISCONNECT, and its way to the socket.
                fn leave(mut self) {
                    self.client.disconnect().unwrap();
                    while let Ok(Ok(_)) = self.connection.recv_timeout(PATIENCE) {}
                }
            }

            #[test]
            fn every_qos_both_ways_and_retained_messages() {
                let home = Home::new("");
                let server = home.start();
                let mut listener = Peer::connect(options(server.mqtt, "listener"));
                listener.subscribe("t/#", QoS::ExactlyOnce);
                let mut talker = Peer::connect(options(server.mqtt, "talker"));
                let mut expected = Vec::new();
                for qos in LEVELS {
                    let topic = format!("t/{}", qos as u8);
                    for retain in [false, true] {
                        talker.publish(&topic, qos, retain, &format!("{retain}"));
                        expected.push(heard(&topic, qos as u8, false, &format!("{retain}")));
                    }
                }
                expected.sort();
                assert_eq!(listener.hear_all(6), expected);
                let mut late = Peer::connect(options(server.mqtt, "late"));
                late.subscribe("t/+", QoS::AtLeastOnce);
                let kept = [0, 1, 1].iter().zip(0..);
                let kept: Vec<_> = kept.map(|(qos, at)| heard(&format!("t/{at}"), *qos, true, "true")).collect();
                assert_eq!(late.hear_all(3), kept);
                for peer in [listener, talker, late] {
                    peer.leave();
                }
                for client in ["listener", "talker", "late"] {
                    let end = server.history_with_ends(client, 1).items.pop().unwrap();
                    assert_eq!(end.reason, "client-disconnected");
                }
            }

            #[test]
            fn a_will() {
                let home = Home::new("");
                let server = home.start();
                let mut watch = Peer::connect(options(server.mqtt, "watch"));
                watch.subscribe("will/+", QoS::AtLeastOnce);
                for (name, leaves) in [("polite", true), ("gone", false)] {
                    let mut with_will = options(server.mqtt, name);
                    with_will.set_last_will($will(&format!("will/{name}"), QoS::AtLeastOnce));
                    let dying = Peer::connect(with_will);
                    if leaves {
                        dying.leave();
                    } else {
                        drop(dying);
                    }
                }
                assert_eq!(watch.hear(), heard("will/gone", 1, false, "dead"));
            }

            #[test]
            fn a_session_over_a_restart_of_the_server() {
                let home = Home::new("");
                let mut server = home.start();
                let mut sleeper = Peer::connect(lasting(options(server.mqtt, "sleeper")));
                assert!(!sleeper.session_present);
                sleeper.subscribe("t", QoS::ExactlyOnce);
                sleeper.leave();
                let mut talker = Peer::connect(options(server.mqtt, "talker"));
                for qos in LEVELS {
                    talker.publish("t", qos, false, &format!("{}", qos as u8));
                }
                server.kill();
                drop(talker);
                let server = home.start();
                let mut sleeper = Peer::connect(lasting(options(server.mqtt, "sleeper")));
                assert!(sleeper.session_present);
                assert_eq!(sleeper.hear_all(2), [heard("t", 1, false, "1"), heard("t", 2, false, "2")]);
                sleeper.leave();
            }

            #[test]
            fn tls() {
                let home = Home::new(TLS);
                let authority = Authority::new("our CA");
                authority.server("the server").save(home.path(), "server");
                fs::write(home.path().join("ca.pem"), authority.pem()).unwrap();
                let server = home.start_listeners();
                let address = server.mqtt;
                let mut secure = MqttOptions::new("secure", "localhost", address.port());
                let config = TlsConfiguration::Rustls(Arc::new(client_config(&authority, None)));
                secure.set_transport(Transport::tls_with_config(config));
                let mut peer = Peer::connect(secure);
                peer.subscribe("t", QoS::ExactlyOnce);
                peer.client.publish("t", QoS::ExactlyOnce, false, "x".repeat(8_000)).unwrap();
                assert_eq!(peer.hear().payload.len(), 8_000);
                peer.leave();
                let end = server.history_with_ends("secure", 1).items.pop().unwrap();
                assert_eq!((&*end.reason, end.tls_version.as_deref()), ("client-disconnected", Some("1.3")));
            }
        }
    };
}

works!(
    v3_1_1: rumqttc,
    rumqttc,
    rumqttc,
    |topic: &str, qos| rumqttc::LastWill::new(topic, "dead", qos, false),
    |options: &mut rumqttc::MqttOptions| {
        options.set_clean_session(false);
    }
);
works!(
    v5_0: rumqttc::v5,
    rumqttc::v5::mqttbytes::v5,
    rumqttc::v5::mqttbytes,
    |topic: &str, qos| rumqttc::v5::mqttbytes::v5::LastWill::new(topic, "dead", qos, false, None),
    |options: &mut rumqttc::v5::MqttOptions| {
        options.set_clean_start(false).set_session_expiry_interval(Some(600));
    }
);
