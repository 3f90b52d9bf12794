//! Events as they come.

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use tracemq_model::{Action, Reason};

use crate::devices::of;
use crate::world::{NOW, SECRET, World};

pub(crate) struct Stream {
    body: Body,
    text: String,
}

#[derive(Debug)]
pub(crate) struct Message {
    id: String,
    event: String,
    pub(crate) data: Value,
}

impl Stream {
    pub(crate) async fn open(world: &World, query: &str, last: Option<&str>) -> Result<Self, (u16, Value)> {
        Self::open_as(world, "main", query, last).await
    }

    pub(crate) async fn open_as(
        world: &World,
        key: &str,
        query: &str,
        last: Option<&str>,
    ) -> Result<Self, (u16, Value)> {
        let login = format!("Basic {}", BASE64.encode(format!("{key}:{SECRET}")));
        let mut request = Request::builder().uri(format!("/api/v1/live?{query}")).header("Authorization", login);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, body) = (response.status().as_u16(), response.into_body());
        if status != 200 {
            let text = body.collect().await.unwrap().to_bytes();
            return Err((status, serde_json::from_slice(&text).unwrap()));
        }
        Ok(Self { body, text: String::new() })
    }

    /// The next block of lines; none when the stream has ended.
    async fn block(&mut self) -> Option<Message> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    lines.map(str::to_owned).next().unwrap_or_default()
                };
                let data = serde_json::from_str(&field("data")).unwrap_or(Value::Null);
                return Some(Message { id: field("id"), event: field("event"), data });
            }
            let frame = self.body.frame().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// The next message that is no comment.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        loop {
            let block = self.block().await?;
            if !block.event.is_empty() {
                return Some(block);
            }
        }
    }
}

fn connect(world: &World, client: &str, connection: u128) {
    world.record(of(client, connection, NOW, Action::Connect, Reason::Accepted));
}

fn connection(message: &Message) -> u64 {
    u64::from_str_radix(message.data["connection"].as_str().unwrap(), 16).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_comes_is_shown_once_it_is_durable_and_only_what_was_asked_for() {
    let world = World::empty();
    connect(&world, "before", 1);
    let mut all = Stream::open(&world, "", None).await.ok().unwrap();
    let mut closes = Stream::open(&world, "action=close", None).await.ok().unwrap();
    let mut one = Stream::open(&world, "client=b%2F1", None).await.ok().unwrap();
    assert!(all.block().await.unwrap().event.is_empty());
    connect(&world, "a", 2);
    connect(&world, "b/1", 3);
    world.record(of("a", 2, NOW, Action::Close, Reason::KeepAliveTimeout));
    for expected in [2, 3, 2] {
        let message = all.message().await.unwrap();
        assert_eq!((message.event.as_str(), connection(&message)), ("event", expected));
    }
    assert_eq!(closes.message().await.unwrap().data["reason"], "keep-alive-timeout");
    assert_eq!(connection(&one.message().await.unwrap()), 3);
    for (bad, field) in [("action=x", "action"), ("since=1h", "since"), ("client=", "client")] {
        let (status, problem) = Stream::open(&world, bad, None).await.err().unwrap();
        assert_eq!((status, problem["field"].as_str()), (400, Some(field)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_goes_on_behind_the_last_event() {
    let world = World::empty();
    let mut stream = Stream::open(&world, "", None).await.ok().unwrap();
    let begin = stream.block().await.unwrap().id;
    for n in 1..=300 {
        connect(&world, "a", n);
    }
    for n in 1..=10 {
        assert_eq!(connection(&stream.message().await.unwrap()), n);
    }
    let last = stream.message().await.unwrap().id;
    drop(stream);
    connect(&world, "a", 301);
    let mut again = Stream::open(&world, "", Some(&last)).await.ok().unwrap();
    for n in 12..=301 {
        assert_eq!(connection(&again.message().await.unwrap()), n);
    }
    let mut from_the_begin = Stream::open(&world, "", Some(&begin)).await.ok().unwrap();
    assert_eq!(connection(&from_the_begin.message().await.unwrap()), 1);
    // A place of another run, and what is none at all: it is told that something may be missing.
    for other in ["0-3", "x", "-", "18446744073709551616-1"] {
        let mut stream = Stream::open(&world, "", Some(other)).await.ok().unwrap();
        let gap = stream.message().await.unwrap();
        assert_eq!((gap.event.as_str(), &gap.data["missed"]), ("gap", &Value::Null), "{other}");
        connect(&world, "a", 999);
        assert_eq!(connection(&stream.message().await.unwrap()), 999);
    }
}

#[tokio::test(start_paused = true)]
async fn a66_a_stream_that_is_not_read_holds_a_place_and_is_told_what_it_missed() {
    let world = World::empty();
    let mut stream = Stream::open(&world, "", None).await.ok().unwrap();
    assert!(stream.block().await.unwrap().event.is_empty());
    for n in 0..40_000 {
        world.state.recorder.record(of("a", n + 1, NOW, Action::Connect, Reason::Accepted));
        if n % 10_000 == 0 {
            assert!(world.state.recorder.flush(std::time::Duration::from_secs(60)));
        }
    }
    assert!(world.state.recorder.flush(std::time::Duration::from_secs(60)));
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < 40_000 {
        let message = stream.message().await.unwrap();
        match message.event.as_str() {
            "event" => seen += 1,
            _ => missed += message.data["missed"].as_u64().unwrap(),
        }
    }
    assert!(missed > 0 && seen >= 16_000, "{seen} {missed}");
    // So many at once, and no more.
    let mut open = vec![stream];
    while open.len() < 32 {
        open.push(Stream::open(&world, "", None).await.ok().unwrap());
    }
    let (status, problem) = Stream::open(&world, "", None).await.err().unwrap();
    assert_eq!((status, problem["code"].as_str()), (429, Some("too-many-streams")));
    // One that nobody has any more is found with the next thing that is sent to it.
    open.pop();
    for _ in 0..1_000 {
        connect(&world, "a", 7);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        if let Ok(stream) = Stream::open(&world, "", None).await {
            open.push(stream);
            break;
        }
    }
    assert_eq!(open.len(), 32);
}

#[tokio::test(start_paused = true)]
async fn a67_a_stream_ends_when_its_key_may_not_any_more() {
    for change in [
        (|keys: &mut Vec<tracemq_access::AccessKey>| keys[0].enabled = false) as fn(&mut Vec<_>),
        |keys| keys[0].secret = tracemq_access::Secret::new("another").unwrap(),
        |keys| keys[0].policy = crate::world::policy("Deny", "*", "*"),
        |keys| drop(keys.remove(0)),
    ] {
        let world = World::empty();
        let mut stream = Stream::open(&world, "", None).await.ok().unwrap();
        assert!(stream.block().await.is_some());
        world.change_keys(change);
        let begun = tokio::time::Instant::now();
        let end = stream.message().await.unwrap();
        assert!(end.event == "end" && end.data["reason"].as_str().unwrap().contains("access key"), "{end:?}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(6), "{:?}", begun.elapsed());
        assert!(stream.block().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn something_is_sent_every_fifteen_seconds() {
    let world = World::empty();
    let mut stream = Stream::open(&world, "", None).await.ok().unwrap();
    for _ in 0..3 {
        let begun = tokio::time::Instant::now();
        assert!(stream.block().await.unwrap().event.is_empty());
        assert!(begun.elapsed() < std::time::Duration::from_secs(16));
    }
}
