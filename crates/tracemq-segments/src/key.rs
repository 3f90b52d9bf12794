//! By what a segment is sorted: instance, then subject, as bytes whose order is the order of the directory.

use std::net::{IpAddr, Ipv6Addr};

use tracemq_model::{ClientId, Event, InstanceId, MessageId, Subject};

const NO_SUBJECT: u8 = 0;
const CLIENT: u8 = 1;
const ADDRESS: u8 = 2;
const MESSAGE: u8 = 3;

/// Appends the key of what `event` is kept under. An event without client and address has a key too, that no question
/// about a subject leads to.
pub(crate) fn push_key_of(event: &Event, out: &mut Vec<u8>) {
    push_instance(&event.instance, out);
    match (&event.client, &event.details.message, event.peer) {
        (Some(client), ..) => push_client(client, out),
        (None, Some(message), _) => push_message(message.id, out),
        (None, None, Some(peer)) => push_address(peer.ip(), out),
        (None, None, None) => out.push(NO_SUBJECT),
    }
}

/// Appends the key of `subject` in `instance`.
pub(crate) fn push_key(instance: &InstanceId, subject: &Subject, out: &mut Vec<u8>) {
    push_instance(instance, out);
    match subject {
        Subject::Client(client) => push_client(client, out),
        Subject::Address(address) => push_address(*address, out),
        Subject::Message(id) => push_message(*id, out),
    }
}

/// Appends what every key of a client in `instance` whose name starts with `prefix` starts with.
pub(crate) fn push_client_prefix(instance: &InstanceId, prefix: &str, out: &mut Vec<u8>) {
    push_instance(instance, out);
    out.push(CLIENT);
    out.extend_from_slice(prefix.as_bytes());
}

/// Appends what every key of an address in `instance` starts with.
pub(crate) fn push_address_prefix(instance: &InstanceId, out: &mut Vec<u8>) {
    push_instance(instance, out);
    out.push(ADDRESS);
}

/// Appends what every key of a message in `instance` starts with.
pub(crate) fn push_message_prefix(instance: &InstanceId, out: &mut Vec<u8>) {
    push_instance(instance, out);
    out.push(MESSAGE);
}

/// Shows `look` the client's name, the address or the message's id that `key` holds, as text; none for a key that holds neither.
pub(crate) fn with_name<T>(key: &[u8], look: impl FnOnce(&str) -> T) -> Option<T> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let (&tag, name) = key.get(end + 1..)?.split_first()?;
    match tag {
        CLIENT => std::str::from_utf8(name).ok().map(look),
        ADDRESS => {
            let octets: [u8; 16] = name.try_into().ok()?;
            Some(look(&IpAddr::V6(Ipv6Addr::from(octets)).to_canonical().to_string()))
        }
        MESSAGE => Some(look(&MessageId(u128::from_be_bytes(name.try_into().ok()?)).to_string())),
        _ => None,
    }
}

/// The instance's name never holds the zero that ends it, so that no instance's keys lie between another's.
pub(crate) fn push_instance(instance: &InstanceId, out: &mut Vec<u8>) {
    out.extend_from_slice(instance.as_str().as_bytes());
    out.push(0);
}

fn push_client(client: &ClientId, out: &mut Vec<u8>) {
    out.push(CLIENT);
    out.extend_from_slice(client.as_str().as_bytes());
}

fn push_address(address: IpAddr, out: &mut Vec<u8>) {
    out.push(ADDRESS);
    let mapped = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    out.extend_from_slice(&mapped.octets());
}

/// Big-endian, so that they go by time.
fn push_message(id: MessageId, out: &mut Vec<u8>) {
    out.push(MESSAGE);
    out.extend_from_slice(&id.0.to_be_bytes());
}

/// A key taken apart; none when it is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) instance: InstanceId,
    /// None for events that no subject leads to.
    pub(crate) subject: Option<Subject>,
}

impl Key {
    /// The key that `bytes` hold; none when they hold none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (instance, rest) = bytes.split_at_checked(end)?;
        let instance = InstanceId::new(std::str::from_utf8(instance).ok()?).ok()?;
        let (&tag, name) = rest.get(1..)?.split_first()?;
        let subject = match tag {
            NO_SUBJECT if name.is_empty() => None,
            CLIENT => Some(Subject::Client(ClientId::new(std::str::from_utf8(name).ok()?).ok()?)),
            ADDRESS => {
                let octets: [u8; 16] = name.try_into().ok()?;
                Some(Subject::Address(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()))
            }
            MESSAGE => Some(Subject::Message(MessageId(u128::from_be_bytes(name.try_into().ok()?)))),
            _ => return None,
        };
        Some(Self { instance, subject })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(instance: &str, subject: &Subject) -> Vec<u8> {
        let mut out = Vec::new();
        push_key(&InstanceId::new(instance).unwrap(), subject, &mut out);
        out
    }

    #[test]
    fn keys_come_back_as_they_went_in() {
        let subjects = [
            Subject::Client(ClientId::new("é中 #+/").unwrap()),
            Subject::Address("10.0.0.7".parse().unwrap()),
            Subject::Address("2001:db8::7".parse().unwrap()),
            Subject::Message(MessageId(7)),
        ];
        for subject in subjects {
            let found = Key::read(&key("i-1", &subject)).unwrap();
            assert_eq!((found.instance.as_str(), found.subject), ("i-1", Some(subject)));
        }
    }

    #[test]
    fn instances_do_not_mix() {
        let client = |name| Subject::Client(ClientId::new(name).unwrap());
        let mut keys =
            [key("a", &client("z")), key("a.b", &client("a")), key("b", &client("a")), key("a", &client("b"))];
        keys.sort();
        assert_eq!(
            keys,
            [key("a", &client("b")), key("a", &client("z")), key("a.b", &client("a")), key("b", &client("a"))]
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bytes in [
            &b""[..],
            b"i",
            b"i\0",
            b"i\0\x01",
            b"i\0\x02abc",
            b"i\0\x03abc",
            b"i\0\x09a",
            b"\0\x01a",
            b"i\0\0x",
            b"i\0\x01\xff",
        ] {
            assert_eq!(Key::read(bytes), None, "{bytes:?}");
        }
    }
}
