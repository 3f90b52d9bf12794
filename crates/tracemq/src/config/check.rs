//! What the types can't say of a configuration: bounds, and what must not go together.

use std::fmt::Display;

use anyhow::bail;

use tracemq_access::mqtt::TopicFilter;

use super::{Config, Mqtt, Store, access, listeners};
use crate::serve::keys;

/// Files are what retention deletes, and a smaller bound is less than one.
const STORE_BYTES_MIN: u64 = 1 << 20;
const STORE_BYTES_MAX: u64 = 1 << 45;
/// A century.
const KEEP_DAYS_MAX: u32 = 36_500;
/// Each message is held against all of them.
const TRACE_TOPICS_MAX: usize = 64;

pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    let mut faults = Faults(Vec::new());
    check_mqtt(&mut faults, &config.mqtt);
    access::check(&mut faults, config);
    listeners::check(&mut faults, config);
    for origin in &config.http.cors_origins {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
        if host.is_none_or(|host| host.is_empty() || !host.bytes().all(is_plain)) {
            let origin = origin.escape_debug();
            faults.0.push(format!(
                "http.cors_origins: `{origin}` is no origin such as https://fleet.example or http://localhost:3000"
            ));
        }
    }
    if let Some(tls) = &config.http.tls {
        listeners::check_tls(&mut faults, "http", tls);
        if tls.username_from.is_some() {
            faults
                .add("http: tls.username_from is for MQTT: callers of HTTP prove who they are by an access key".into());
        }
    }
    let api = &config.api;
    faults.within("api.calls_per_second", api.calls_per_second, 1, 1_000_000);
    faults.within("api.calls_per_second_of_address", api.calls_per_second_of_address, 0, 1_000_000);
    faults.within("api.max_nonces", api.max_nonces, 1_000, 100_000_000);
    if parse_utc_offset(&api.utc_offset).is_none() {
        faults.0.push(format!("api.utc_offset: `{}` is no offset such as +08:00", api.utc_offset));
    }
    let recorder = &config.recorder;
    faults.within("recorder.max_queued_events", recorder.max_queued_events, 1_024, 16_777_216);
    faults.within("recorder.max_batch_events", recorder.max_batch_events, 1, 65_536);
    faults.within("recorder.linger_ms", recorder.linger_ms, 0, 1_000);
    check_store(&mut faults, &config.store);
    check_messages(&mut faults, config);
    if let Err(error) = keys::check(config) {
        faults.0.push(format!("{error:#}"));
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if let Some(region) = &config.instance.region
        && (region.is_empty() || region.len() > 64 || !region.bytes().all(word))
    {
        faults.0.push(format!("instance.region: `{}` is not 1 to 64 of A-Z a-z 0-9 - _", region.escape_debug()));
    }
    if faults.0.is_empty() { Ok(()) } else { bail!("the config is not usable:\n  {}", faults.0.join("\n  ")) }
}

fn check_store(faults: &mut Faults, store: &Store) {
    faults.within("store.max_bytes", store.max_bytes, STORE_BYTES_MIN, STORE_BYTES_MAX);
    faults.within("store.keep_days", store.keep_days, 0, KEEP_DAYS_MAX);
    for (at, bounds) in store.instance.iter().enumerate() {
        let key = format!("store.instance: `{}`", bounds.id);
        if store.instance.iter().take(at).any(|before| before.id == bounds.id) {
            faults.0.push(format!("{key} is there twice"));
        }
        if bounds.keep_days.is_none() && bounds.max_bytes.is_none() {
            faults.0.push(format!("{key} has neither keep_days nor max_bytes"));
        }
        if let Some(days) = bounds.keep_days {
            faults.within(&format!("{key}: keep_days"), days, 0, KEEP_DAYS_MAX);
        }
        if let Some(bytes) = bounds.max_bytes {
            faults.within(&format!("{key}: max_bytes"), bytes, STORE_BYTES_MIN, STORE_BYTES_MAX);
        }
    }
}

fn check_messages(faults: &mut Faults, config: &Config) {
    let messages = &config.trace.messages;
    for filter in &messages.topics {
        if let Err(error) = TopicFilter::parse(filter) {
            faults.0.push(format!("trace.messages.topics: `{}`: {error}", filter.escape_debug()));
        }
    }
    if messages.topics.len() > TRACE_TOPICS_MAX {
        faults.0.push(format!(
            "trace.messages.topics: more than {TRACE_TOPICS_MAX} filters, all of which each message is held against"
        ));
    }
    if !(0.0..=1.0).contains(&messages.sample) {
        faults.0.push(format!("trace.messages.sample: {} is not within 0 and 1", messages.sample));
    }
    if messages.topics.is_empty() && messages.sample < 1.0 {
        faults.0.push(
            "trace.messages.sample: there is nothing to take a share of; name topics, such as topics = [\"#\"] for all"
                .into(),
        );
    }
    faults.within("trace.messages.max_bytes", messages.max_bytes, STORE_BYTES_MIN, STORE_BYTES_MAX);
    faults.within("trace.messages.keep_days", messages.keep_days, 0, KEEP_DAYS_MAX);
    if messages.is_on() && !config.recorder.enabled {
        faults.0.push("trace.messages.topics: nothing is put on record while recorder.enabled is false".into());
    }
}

fn check_mqtt(faults: &mut Faults, mqtt: &Mqtt) {
    faults.within("mqtt.connect_timeout_s", mqtt.connect_timeout_s, 1, 3_600);
    faults.within("mqtt.max_packet_bytes", mqtt.max_packet_bytes, 128, 268_435_455);
    faults.within("mqtt.max_client_id_bytes", mqtt.max_client_id_bytes, 23, 65_535);
    faults.within("mqtt.max_connections", mqtt.max_connections, 1, 10_000_000);
    faults.within("mqtt.max_connections_per_address", mqtt.max_connections_per_address, 0, 10_000_000);
    faults.within("mqtt.fold_silent_s", mqtt.fold_silent_s, 0, 3_600);
    faults.within("mqtt.max_keep_alive_s", mqtt.max_keep_alive_s, 5, u16::MAX);
    faults.within("mqtt.max_inflight", mqtt.max_inflight, 1, u16::MAX);
    faults.within("mqtt.max_queued_messages", mqtt.max_queued_messages, 1, 10_000_000);
    faults.within("mqtt.max_queued_bytes", mqtt.max_queued_bytes, 1_024, 1 << 32);
    faults.within("mqtt.max_queued_bytes_in_all", mqtt.max_queued_bytes_in_all, 1_048_576, 1 << 40);
    faults.within("mqtt.max_sessions", mqtt.max_sessions, 1, 100_000_000);
    faults.within("mqtt.max_retained_messages", mqtt.max_retained_messages, 0, 100_000_000);
    faults.within("mqtt.max_retained_bytes", mqtt.max_retained_bytes, 0, 1 << 40);
    faults.within("mqtt.max_subscriptions", mqtt.max_subscriptions, 0, 1_000_000);
    faults.within("mqtt.slow_consumer_s", mqtt.slow_consumer_s, 1, 3_600);
    faults.within("mqtt.sys_interval_s", mqtt.sys_interval_s, 0, 86_400);
    if let Some(server) = &mqtt.redirect_to
        && (server.is_empty() || server.len() > 255 || server.contains(|c: char| c.is_whitespace() || c.is_control()))
    {
        faults.0.push(format!("mqtt.redirect_to: `{}` is no server such as host:port", server.escape_debug()));
    }
    if let Some(topics) = &mqtt.response_topics
        && (topics.is_empty() || topics.len() > 512 || topics.contains(['+', '#', '\0']))
    {
        faults.0.push(format!("mqtt.response_topics: `{}` can't be the beginning of a topic", topics.escape_debug()));
    }
}

/// Seconds east of UTC; none when `text` is not `+hh:mm` or `-hh:mm` up to 14 hours, or `Z`.
pub(crate) fn parse_utc_offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two_digits =
        |part: &str| (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok());
    let (hours, minutes): (i32, i32) = (two_digits(hours)??, two_digits(minutes)??);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

pub(super) struct Faults(Vec<String>);

impl Faults {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    pub(super) fn within<T: PartialOrd + Display + Copy>(&mut self, key: &str, value: T, min: T, max: T) {
        if value < min || value > max {
            self.0.push(format!("{key}: {value} is not within {min} and {max}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(toml: &str) -> String {
        let config: Config = toml::from_str(toml).unwrap();
        config.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn the_defaults_are_usable() {
        assert_eq!(faults(""), "");
    }

    #[test]
    fn a63_an_open_door_must_be_asked_for_by_name() {
        assert!(faults("mqtt.listen = '0.0.0.0:1883'").contains("mqtt.allow_anonymous = true"));
        assert!(faults("mqtt.listen = '[::]:1883'").contains("mqtt.listen"));
        assert_eq!(faults("mqtt.listen = '0.0.0.0:1883'\nmqtt.allow_anonymous = true"), "");
        assert_eq!(faults("mqtt.listen = '0.0.0.0:1883'\nmqtt.users_file = 'users'"), "");
    }

    #[test]
    fn a_listener_that_can_t_be_is_told_with_its_name() {
        let of = |rest: &str| faults(&format!("[[mqtt.listeners]]\nname = 'a'\nlisten = '127.0.0.1:0'\n{rest}"));
        assert_eq!(of(""), "");
        assert_eq!(of("transport = 'ws'\nwebsocket = { origins = ['https://x.example'] }"), "");
        assert_eq!(of("proxy_protocol = true\ntrusted_proxies = ['10.0.0.0/8', '::1']\nallow_anonymous = true"), "");
        for (rest, said) in [
            ("[[mqtt.listeners]]\nname = 'a'\nlisten = '127.0.0.1:0'", "two listeners"),
            ("[[mqtt.listeners]]\nname = 'a b'\nlisten = '127.0.0.1:0'", "A-Z"),
            ("max_connections = 0", "max_connections"),
            ("max_connections_per_address = 10000001", "max_connections_per_address: 10000001"),
            ("connect_timeout_s = 0", "connect_timeout_s: 0"),
            ("max_packet_bytes = 127", "max_packet_bytes: 127"),
            ("max_inflight = 0", "max_inflight: 0"),
            ("max_keep_alive_s = 4", "max_keep_alive_s: 4"),
            ("transport = 'tls'", "needs tls"),
            ("tls = { cert = 'c', key = 'k' }", "not for \"tcp\""),
            ("websocket = {}", "not for \"tcp\""),
            ("transport = 'ws'\nwebsocket = { path = 'mqtt' }", "begin with /"),
            ("transport = 'ws'\nwebsocket = { origins = ['x.example'] }", "no origin"),
            ("transport = 'tls'\ntls = { cert = 'c', key = 'k', client_certificate = 'required' }", "tls.client_ca"),
            ("transport = 'tls'\ntls = { cert = 'c', key = 'k', client_ca = 'a' }", "tls.client_certificate"),
            ("transport = 'tls'\ntls = { cert = 'c', key = 'k', username_from = 'common-name' }", "username_from"),
            ("proxy_protocol = true\nallow_anonymous = true", "needs trusted_proxies"),
            ("proxy_protocol = true\ntrusted_proxies = ['::1']", "through a proxy"),
            ("trusted_proxies = ['::1']", "without proxy_protocol"),
            ("proxy_protocol = true\ntrusted_proxies = ['10.0.0.0/33']", "10.0.0.0/33"),
        ] {
            let told = of(rest);
            assert!(told.contains("mqtt.listeners `a") && told.contains(said), "{rest}: {told}");
        }
        let open = "[[mqtt.listeners]]\nname = 'a'\nlisten = '0.0.0.0:0'";
        assert!(faults(open).contains("mqtt.allow_anonymous = true"));
        let secure = "tls = { cert = 'c', key = 'k', client_ca = 'a', client_certificate = 'required' }";
        assert_eq!(faults(&format!("{open}\ntransport = 'tls'\n{secure}")), "");
    }

    #[test]
    fn tls_of_http_is_checked_as_that_of_a_listener() {
        let of = |rest: &str| faults(&format!("[http]\ntls = {{ cert = 'c', key = 'k'{rest} }}"));
        assert_eq!(of(""), "");
        assert_eq!(of(", client_ca = 'a', client_certificate = 'required'"), "");
        assert!(of(", client_certificate = 'optional'").contains("http: tls.client_certificate needs tls.client_ca"));
        let named = of(", client_ca = 'a', client_certificate = 'required', username_from = 'common-name'");
        assert!(named.contains("http: tls.username_from is for MQTT"), "{named}");
    }

    #[test]
    fn every_fault_is_told_with_its_key() {
        let told =
            faults("mqtt.connect_timeout_s = 0\nmqtt.max_inflight = 0\napi.utc_offset = '8'\nstore.max_bytes = 1");
        for key in ["mqtt.connect_timeout_s", "mqtt.max_inflight", "api.utc_offset", "store.max_bytes"] {
            assert!(told.contains(key), "{key} in {told}");
        }
        let rule = "[[mqtt.rules]]\nusers = ['a']\npublish = ['a/#/b']";
        assert!(faults(rule).contains("`a/#/b`"));
    }

    #[test]
    fn what_can_t_be_meant_of_message_traces_is_told_with_its_key() {
        let of = |rest: &str| faults(&format!("[trace.messages]\n{rest}"));
        assert_eq!(of("topics = ['telemetry/#', '+/cmd']\nsample = 0.01\nkeep_days = 0\nmax_bytes = 1048576"), "");
        for (rest, said) in [
            ("topics = ['a/#/b']", "trace.messages.topics: `a/#/b`"),
            ("topics = ['']", "trace.messages.topics: ``"),
            ("topics = ['#']\nsample = 1.5", "trace.messages.sample: 1.5"),
            ("topics = ['#']\nsample = nan", "trace.messages.sample: NaN"),
            ("sample = 0.1", "name topics"),
            ("max_bytes = 1", "trace.messages.max_bytes: 1"),
            ("keep_days = 36501", "trace.messages.keep_days: 36501"),
            ("topics = ['#']\n[recorder]\nenabled = false", "recorder.enabled"),
        ] {
            let told = of(rest);
            assert!(told.contains(said), "{rest}: {told}");
        }
        assert!(of(&format!("topics = {:?}", vec!["a"; 65])).contains("more than 64"));
    }

    #[test]
    fn bounds_of_an_instance_are_checked_as_those_of_the_store() {
        let entry = "[[store.instance]]\nid = 'mqtt-a'\n";
        assert_eq!(faults(&format!("{entry}keep_days = 30\nmax_bytes = 1048576")), "");
        assert_eq!(faults(&format!("{entry}keep_days = 0\n[[store.instance]]\nid = 'mqtt-b'\nkeep_days = 1")), "");
        for (rest, said) in [
            ("", "neither keep_days nor max_bytes"),
            ("keep_days = 36501", "keep_days: 36501"),
            ("max_bytes = 1", "max_bytes: 1 "),
            ("keep_days = 1\n[[store.instance]]\nid = 'mqtt-a'\nkeep_days = 2", "twice"),
        ] {
            let told = faults(&format!("{entry}{rest}"));
            assert!(told.contains("store.instance: `mqtt-a`") && told.contains(said), "{rest}: {told}");
        }
        let unknown = toml::from_str::<Config>(&format!("{entry}keep_day = 3")).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `keep_day`") && unknown.contains("`keep_days`"), "{unknown}");
    }

    #[test]
    fn rules_name_listeners_and_instances_that_there_are_and_leave_none_without() {
        let listener = |name: &str, instance: &str| {
            format!("[[mqtt.listeners]]\nname = '{name}'\nlisten = '127.0.0.1:0'\ninstance = '{instance}'\n")
        };
        let ways_in = listener("a", "mqtt-a") + &listener("b", "mqtt-b");
        let rule = |bound: &str| format!("[[mqtt.rules]]\npublish = ['t']\n{bound}\n");
        let of =
            |rules: &[&str]| faults(&(ways_in.clone() + &rules.iter().map(|bound| rule(bound)).collect::<String>()));
        assert_eq!(faults(&rule("listeners = ['mqtt']\ninstances = ['mqtt-local']")), "");
        assert_eq!(of(&["listeners = ['a', 'b']"]), "");
        assert_eq!(of(&["instances = ['mqtt-a']", "listeners = ['b']\nusers = ['u']"]), "");
        assert_eq!(of(&["", "listeners = ['a']"]), "", "the first is for all");
        for (rules, said) in [
            (&["", "listeners = ['c']"][..], "rule 2: listeners: there is no listener `c`; there are `a`, `b`"),
            (
                &["instances = ['mqtt-c']"],
                "rule 1: instances: there is no instance `mqtt-c`; there are `mqtt-local`, `mqtt-a`, `mqtt-b`",
            ),
            (
                &["", "listeners = ['a']\ninstances = ['mqtt-b']"],
                "rule 2: none of its listeners leads to one of its instances",
            ),
            (&["listeners = ['a']"], "no rule is for clients of the listener `b`"),
            (&["instances = ['mqtt-b']"], "no rule is for clients of the listener `a`"),
            (&["listeners = ['']"], "rule 1 has an empty name"),
        ] {
            let told = of(rules);
            assert!(told.contains("mqtt.rules: ") && told.contains(said), "{rules:?}: {told}");
        }
    }

    #[test]
    fn what_can_t_be_meant_of_who_may_connect_is_told_with_its_key() {
        let hook = |rest: &str| format!("[mqtt.hook]\nurl = 'http://127.0.0.1:1/'\n{rest}");
        assert_eq!(faults(&hook("cache_s = 60")), "");
        assert_eq!(faults("[[mqtt.banned]]\naddress = '192.0.2.0/24'\nuser = 'a'"), "");
        for (toml, said) in [
            ("[[mqtt.rules]]\nusers = ['a']".to_owned(), "mqtt.rules: rule 1 names no topic"),
            ("[[mqtt.rules]]\nusers = ['']\npublish = ['a']".to_owned(), "empty name"),
            ("[[mqtt.rules]]\npublish = ['a/%x']".to_owned(), "`a/%x`"),
            ("[[mqtt.banned]]".to_owned(), "mqtt.banned 1: names neither"),
            ("[[mqtt.banned]]\naddress = '192.0.2.0/33'".to_owned(), "mqtt.banned 1: address"),
            ("mqtt.groups = ['GID_a@@@1']".to_owned(), "mqtt.groups"),
            ("[mqtt.hook]\nurl = 'ftp://x/'".to_owned(), "mqtt.hook.url"),
            ("[mqtt.hook]\nurl = 'https://x/'".to_owned(), "mqtt.hook.ca_file: with https"),
            (hook("ca_file = 'ca.pem'"), "mqtt.hook.ca_file: is of no use"),
            (hook("timeout_ms = 0"), "mqtt.hook.timeout_ms"),
            (hook("max_concurrent = 0"), "mqtt.hook.max_concurrent"),
        ] {
            let told = faults(&toml);
            assert!(told.contains(said), "{toml}: {told}");
        }
    }

    #[test]
    fn keys_that_the_server_could_not_use_are_faults() {
        let key = "[[access_keys]]\nid = 'a'\n";
        for (rest, said) in [
            ("secret = ''", "secret"),
            ("secret = 's'\npolicy = '{}'", "policy"),
            ("secret = 's'\naccount = 'a:b'", "account"),
            ("secret = 's'\nexpires = 'soon'", "expires"),
            ("secret = 's'\n[[access_keys]]\nid = 'a'\nsecret = 't'", "twice"),
        ] {
            let told = faults(&format!("{key}{rest}"));
            assert!(told.contains("`a`") && told.contains(said), "{rest}: {told}");
        }
        assert!(faults("instance.region = 'a:b'").contains("instance.region"));
        assert!(faults("instance.region = ''").contains("instance.region"));
    }

    #[test]
    fn what_can_t_be_read_is_refused_with_its_line_and_without_quoting_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tracemq.toml");
        for (text, line, said) in [
            ("data_dir = 'x'\n[mqtt]\nlisen = '127.0.0.1:1'", "line 3", "did you mean `listen`?"),
            (
                "[[mqtt.listeners]]\nname = 'a'\nlisten = '127.0.0.1:1'\ntransport = 'wsss'",
                "line 4",
                "did you mean `wss`?",
            ),
            ("[[access_keys]]\nid = 'a'\nsecret = 'sekrit' x", "line 3", ""),
            ("[[mqtt.users]]\nname = 'a'\npassword = 'sekrit'", "line 1", "mqtt.users_file"),
            ("mqtt.listen = 'localhost:1883'", "line 1", "127.0.0.1:1883"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = format!("{:#}", Config::load(Some(&file)).unwrap_err());
            assert!(error.contains(line) && error.contains(said), "{error}");
            assert!(!error.contains("sekrit"), "{error}");
        }
    }

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let page = include_str!("../../../../docs/configuration.md");
        let documented = page.split("```toml").nth(1).unwrap().split("```").next().unwrap();
        let documented: Config = toml::from_str(documented).unwrap();
        assert_eq!(documented.to_toml().unwrap(), Config::default().to_toml().unwrap());
        let keys: toml::Table = toml::from_str(&Config::default().to_toml().unwrap()).unwrap();
        for (section, value) in &keys {
            for key in value.as_table().into_iter().flat_map(toml::Table::keys) {
                assert!(page.contains(&format!("{key} =")), "{section}.{key} is not in docs/configuration.md");
            }
        }
    }

    #[test]
    fn secrets_do_not_come_out_again() {
        let config: Config = toml::from_str("[[access_keys]]\nid = 'a'\nsecret = 'hunter2'").unwrap();
        assert!(!config.to_toml().unwrap().contains("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn utc_offsets() {
        assert_eq!(parse_utc_offset("+08:00"), Some(28_800));
        assert_eq!(parse_utc_offset("-03:30"), Some(-12_600));
        assert_eq!(parse_utc_offset("Z"), Some(0));
        for bad in ["", "8", "+8:00", "+08", "+15:00", "+08:60", "é8:00"] {
            assert_eq!(parse_utc_offset(bad), None, "{bad}");
        }
    }
}
