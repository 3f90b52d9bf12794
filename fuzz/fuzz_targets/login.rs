//! What a CONNECT says of who it is, what a client uploads to renew its token, and what a program elsewhere answers about it. In
//! the input a line each: client identifier, user name, password, a topic; all behind them is the token's message or the answer.
//!
//! Nobody may come in who does not know a secret or the token, nothing may be renewed without it, and a rule that denies holds
//! for whoever came in, whatever the program allows.

#![no_main]

use std::str::from_utf8;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tracemq_access::mqtt::hook::{question, verdict};
use tracemq_access::mqtt::issued::{Grant, Issued};
use tracemq_access::mqtt::{Anonymous, Deed, Identity, Judgement, Login, MqttAccess, RuleBook, RuleEntry};
use tracemq_access::{AccessKey, AccountId, Holder, KeyRing, Policy, Secret};
use tracemq_model::TimeMs;

const NOW: TimeMs = TimeMs(1_000_000);
const TOKEN_USER: &str = "Token|LTAI|mqtt-1";

struct World {
    access: MqttAccess,
    issued: Issued,
    token: String,
    by_token: Identity,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let account = AccountId::new("local").expect("a plain word");
    let key = AccessKey {
        id: "LTAI".into(),
        secret: Secret::new("a secret that no input holds").expect("a plain text is a secret"),
        account: account.clone(),
        enabled: true,
        security_token: None,
        expires: None,
        holder: Holder::Account,
        policy: Policy::full_access(),
        session: None,
    };
    let deny = RuleEntry {
        deny: true,
        publish: vec!["denied/#".into()],
        subscribe: vec!["denied/#".into()],
        ..RuleEntry::default()
    };
    let access = MqttAccess {
        keys: Arc::new(KeyRing::new([key]).expect("one key is a ring")),
        rules: RuleBook::new(&[deny]).expect("a plain filter is a rule"),
        has_hook: true,
        ..MqttAccess::nothing(account)
    };
    let mut issued = Issued::default();
    let grant = Grant {
        access_key_id: "LTAI".into(),
        instance: "mqtt-1".into(),
        read: true,
        write: true,
        resources: vec!["#".into()],
        expires_ms: 2_000_000,
    };
    let (token, change) = issued.issue_token(&[7; 32], grant, NOW).expect("there is room for one");
    issued.apply(change, NOW);
    let password = format!("RW|{token}");
    let Judgement::Admitted(by_token) = access.judge(&login("c", TOKEN_USER, password.as_bytes()), &issued, NOW) else {
        panic!("who has the token comes in");
    };
    World { access, issued, token, by_token }
});

fn login<'a>(client_id: &'a str, username: &'a str, password: &'a [u8]) -> Login<'a> {
    Login {
        client_id,
        username: Some(username),
        password: Some(password),
        address: [192, 0, 2, 7].into(),
        instance: "mqtt-1",
        listener: "mqtt",
        proven: None,
        anonymous: Anonymous::No,
    }
}

fuzz_target!(|data: &[u8]| {
    let World { access, issued, token, by_token } = &*WORLD;
    let mut parts = data.splitn(5, |byte| *byte == b'\n');
    let mut line = || parts.next().unwrap_or_default();
    let (client_id, username, password, topic, rest) = (line(), line(), line(), line(), line());
    let (Ok(client_id), Ok(username), Ok(topic)) = (from_utf8(client_id), from_utf8(username), from_utf8(topic)) else {
        return;
    };
    let knows_it = |bytes: &[u8]| bytes.windows(token.len()).any(|part| part == token.as_bytes());
    let mut inside = None;
    match access.judge(&login(client_id, username, password), issued, NOW) {
        Judgement::Admitted(identity) => {
            assert!(knows_it(password), "{username:?} came in without a secret or the token");
            inside = Some(identity);
        }
        Judgement::Ask(asked) => {
            let body = question(client_id, username, password, [192, 0, 2, 7].into(), "mqtt-1");
            assert_eq!(body.is_some(), from_utf8(password).is_ok());
            for status in [200, 204, 403] {
                let answer = verdict(status, rest);
                assert!(answer.is_ok() || status == 200, "{status} needs no body");
                if status == 200 && answer.is_ok() {
                    inside = asked.outcome(answer).ok();
                    break;
                }
            }
        }
        Judgement::Refused(_) | Judgement::Compare(_) => {}
    }
    // A JSON text may say the same by escapes.
    if let Some(Ok(())) = by_token.renew(rest, issued, NOW) {
        assert!(knows_it(rest) || rest.contains(&b'\\'), "a token was renewed by one that was not given out");
    }
    for identity in inside.iter().chain([by_token]) {
        let rights = access.of(identity, issued, NOW);
        let below = format!("denied/{topic}");
        for wanted in ["denied", &below, "#", topic] {
            let is_denied = wanted == "#" || wanted == "denied" || wanted.starts_with("denied/");
            for deed in [Deed::Publish { qos: 1, retain: false }, Deed::Subscribe { qos: 0 }, Deed::Receive] {
                let may = rights.allows(identity, deed, wanted);
                assert!(!(may && is_denied), "{wanted:?} is denied");
            }
        }
    }
});
