//! `/metrics` as a whole, by the rules of the text format and those that `promtool check metrics` lints by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::SeqCst;

use tracemq_model::{Action, GapCause, Reason};

use crate::devices::get;
use crate::world::{CLIENT, INSTANCE, NOW, OTHER_INSTANCE, World, event, parameters, parameters_with, send};

/// A series: its name and its labels.
type Series = (String, BTreeMap<String, String>);

#[derive(Debug)]
struct Family {
    name: String,
    kind: String,
    samples: Vec<(Series, f64)>,
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_part) && !text.contains("__")
}

fn sample(line: &str) -> (Series, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
    let Some((name, labels)) = series.split_once('{') else { return ((series.to_owned(), BTreeMap::new()), value) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels: {line}"));
    let mut found = BTreeMap::new();
    for label in labels.split(',') {
        let (name, text) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let text = text.strip_suffix('"').unwrap_or_else(|| panic!("no end of a label: {line}"));
        assert!(!text.contains(['"', '\\', '\n']), "{line}");
        assert!(is_name(name) && found.insert(name.to_owned(), text.to_owned()).is_none(), "{line}");
    }
    ((name.to_owned(), found), value)
}

/// Every line belongs to a family: HELP, TYPE, then its samples, all in one place.
fn parse(page: &str) -> Vec<Family> {
    assert!(page.ends_with('\n') && !page.contains("\n\n") && !page.contains('\r'), "{page}");
    let mut families: Vec<Family> = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
        assert!(help.len() > 5 && help.ends_with('.') && !help.contains('\\'), "{line}");
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect(name);
        assert!(families.iter().all(|family| family.name != name), "{name} is there twice");
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line));
        }
        families.push(Family { name: name.to_owned(), kind: kind.to_owned(), samples });
    }
    families
}

fn check(family: &Family) {
    let Family { name, kind, samples } = family;
    assert!(is_name(name) && name.starts_with("tracemq_"), "{name}");
    assert!(["counter", "gauge", "histogram"].contains(&&**kind), "{name} is a {kind}");
    assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
    for suffix in ["_count", "_sum", "_bucket", "_info_total"] {
        assert!(!name.ends_with(suffix), "{name}");
    }
    for part in name.split('_') {
        let not_base = ["ms", "us", "ns", "milliseconds", "minutes", "hours", "days", "kb", "mb", "gb", "kib", "mib"];
        let no_words = ["s", "sec", "b", "m", "h", "d", "counter", "gauge", "histogram", "percent"];
        assert!(!not_base.contains(&part) && !no_words.contains(&part), "{name}: {part}");
    }
    assert!(!samples.is_empty(), "{name} has no sample");
    let mut known = BTreeSet::new();
    for (series, value) in samples {
        assert!(known.insert(series), "{series:?} is there twice");
        assert!(value.is_finite() && *value >= 0.0, "{series:?} {value}");
        let suffix = series.0.strip_prefix(name.as_str()).unwrap_or_else(|| panic!("{series:?} in {name}"));
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{series:?} in {name}");
        assert_eq!(series.1.contains_key("le"), suffix == "_bucket", "{series:?}");
        assert!(!series.1.contains_key("quantile"), "{series:?}");
    }
    if kind == "histogram" {
        check_histogram(family);
    }
}

/// Buckets grow, end with all, and all is the count.
fn check_histogram(family: &Family) {
    let of = |suffix: &str| -> Vec<&(Series, f64)> {
        family.samples.iter().filter(|((name, _), _)| name.ends_with(suffix)).collect()
    };
    for ((_, labels), count) in of("_count") {
        let same = |series: &Series| series.1.iter().filter(|(name, _)| *name != "le").eq(labels.iter());
        let buckets: Vec<_> = of("_bucket").into_iter().filter(|(series, _)| same(series)).collect();
        let bounds: Vec<f64> = buckets.iter().map(|((_, labels), _)| labels["le"].parse().unwrap()).collect();
        assert!(bounds.is_sorted_by(|a, b| a < b) && bounds.last() == Some(&f64::INFINITY), "{bounds:?}");
        assert!(buckets.is_sorted_by(|(_, a), (_, b)| a <= b), "{buckets:?}");
        assert_eq!(buckets.last().unwrap().1, *count, "{}", family.name);
        assert_eq!(of("_sum").iter().filter(|(series, _)| same(series)).count(), 1);
    }
}

async fn scraped(world: &World) -> Vec<Family> {
    let answer = world.get("/metrics", &[]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let families = parse(&answer.body);
    families.iter().for_each(check);
    families
}

fn series(families: &[Family]) -> BTreeSet<Series> {
    families.iter().flat_map(|family| family.samples.iter().map(|(series, _)| series.clone())).collect()
}

fn value(families: &[Family], name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let wanted = (name.to_owned(), labels);
    let found = families.iter().flat_map(|family| &family.samples).find(|(series, _)| *series == wanted);
    found.unwrap_or_else(|| panic!("no {wanted:?}")).1
}

#[tokio::test]
async fn the_whole_page_is_as_the_format_and_its_lints_ask_and_calls_add_no_series() {
    let world = World::new();
    let before = scraped(&world).await;
    for target in ["/api/v1/gaps", "/api/v1/clients/%22%7D%0A/events", "/api/v1/nothing", "/livez"] {
        get(&world, target).await;
    }
    world.get("/api/v1/gaps", &[("authorization", "Basic eDp4")]).await;
    for parameters in
        [parameters(), parameters_with(&[("InstanceId", Some("a\"b{c}\n"))]), parameters_with(&[("ClientId", None)])]
    {
        world.call(&world.signer("main").v3(&parameters)).await;
    }
    let after = scraped(&world).await;
    assert_eq!(series(&before), series(&after));

    let sets: [(&str, Vec<&str>); 7] = [
        ("cause", GapCause::ALL.iter().map(|cause| cause.code()).collect()),
        ("instance", vec![INSTANCE, OTHER_INSTANCE]),
        ("listener", vec!["[http]", "devices"]),
        ("outcome", vec!["success", "client-error", "denied", "throttled", "server-error"]),
        ("reason", Reason::ALL.iter().map(|reason| reason.code()).collect()),
        ("surface", vec!["apsara", "rest"]),
        ("version", vec![env!("CARGO_PKG_VERSION")]),
    ];
    for (name, labels) in series(&after) {
        for (label, text) in labels.iter().filter(|(label, _)| *label != "le") {
            let (_, known) = sets.iter().find(|(known, _)| known == label).unwrap_or_else(|| panic!("{name} {label}"));
            assert!(known.contains(&text.as_str()), "{name}: {label}={text}");
        }
    }
}

#[tokio::test]
async fn each_successful_call_adds_one_to_its_instance_and_no_other_call_does() {
    let world = World::new();
    let metered = async |instance| {
        let families = scraped(&world).await;
        value(&families, "tracemq_api_metered_calls_total", &[("instance", instance)])
    };
    let call =
        async |more: &[(&str, Option<&str>)]| world.call(&world.signer("main").v3(&parameters_with(more))).await.status;
    assert_eq!((metered(INSTANCE).await, metered(OTHER_INSTANCE).await), (0.0, 0.0));
    assert_eq!(call(&[]).await, 200);
    assert_eq!(call(&[("ClientId", Some("nobody"))]).await, 200, "empty, and a success");
    assert_eq!(metered(INSTANCE).await, 2.0);
    assert_ne!(call(&[("PageSize", Some("0"))]).await, 200);
    assert_ne!(call(&[("InstanceId", Some("mqtt-cn-nowhere"))]).await, 200);
    let denied = world.call(&world.signer("denied").v3(&parameters())).await;
    assert_eq!(denied.status, 403, "{denied:?}");
    let forged = crate::signing::Signer { secret: "guess".into(), ..world.signer("main") };
    assert_ne!(world.call(&forged.v3(&parameters())).await.status, 200);
    assert_eq!((metered(INSTANCE).await, metered(OTHER_INSTANCE).await), (2.0, 0.0));
    let all = scraped(&world).await;
    let count = |outcome| value(&all, "tracemq_api_calls_total", &[("surface", "apsara"), ("outcome", outcome)]);
    assert_eq!((count("success"), count("denied")), (2.0, 1.0));
    assert!(world.get("/metrics", &[]).await.body.find(CLIENT).is_none());
}

#[tokio::test]
async fn connections_are_counted_by_how_they_ended_and_requests_by_how_long_they_took() {
    let world = World::new();
    let of = |n, action, reason| {
        let mut event = event(n, NOW, action, reason);
        event.details.count = (n == 4).then_some(40);
        event
    };
    for event in [
        of(1, Action::Open, Reason::Opened),
        of(1, Action::Connect, Reason::Accepted),
        of(1, Action::Disconnect, Reason::ClientDisconnected),
        of(2, Action::Connect, Reason::Accepted),
        of(2, Action::Close, Reason::KeepAliveTimeout),
        of(3, Action::Close, Reason::BadCredentials),
        of(4, Action::Close, Reason::ClientClosed),
    ] {
        world.record(event);
    }
    let before = scraped(&world).await;
    assert_eq!(value(&before, "tracemq_connects_total", &[]), 2.0);
    let ended = |reason: Reason| value(&before, "tracemq_disconnects_total", &[("reason", reason.code())]);
    let told = [Reason::ClientDisconnected, Reason::KeepAliveTimeout, Reason::BadCredentials, Reason::Kicked];
    assert_eq!(told.map(ended), [1.0, 1.0, 1.0, 0.0]);
    assert_eq!(ended(Reason::ClientClosed), 40.0, "one event that stands for several");
    assert!(before.iter().all(|family| {
        family.samples.iter().all(|((_, labels), _)| labels.get("reason").is_none_or(|reason| reason != "opened"))
    }));

    let took = "tracemq_http_request_duration_seconds";
    get(&world, "/api/v1/gaps").await;
    let after = scraped(&world).await;
    let count = |page: &[Family]| value(page, &format!("{took}_count"), &[]);
    assert_eq!(count(&after) - count(&before), 2.0, "the call, and the scrape before");
    assert!(value(&after, &format!("{took}_sum"), &[]) > value(&before, &format!("{took}_sum"), &[]));
}

#[tokio::test]
async fn a_store_that_does_not_answer_takes_only_its_own_numbers_out_of_the_page() {
    let world = World::new();
    world.store.stuck.store(true, SeqCst);
    let waiting: Vec<_> =
        (0..32).map(|_| tokio::spawn(send(world.router.clone(), world.signer("main").v1(&parameters())))).collect();
    while world.questions() < 32 {
        tokio::task::yield_now().await;
    }
    let stuck = scraped(&world).await;
    world.store.stuck.store(false, SeqCst);
    for call in waiting {
        call.await.unwrap().assert_ok();
    }
    let missing: Vec<_> =
        series(&scraped(&world).await).difference(&series(&stuck)).map(|(name, _)| name.clone()).collect();
    assert_eq!(missing, ["tracemq_store_events", "tracemq_store_size_bytes"]);
}
