//! Promise: what is on record of messages survives `kill -9`, each step once, and a gap says what may be missing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{
    Connect, Device, Home, PATIENCE, Version, finish_within, publish, subscribe, tracemq, wait_until,
};

const KILLS: usize = 12;
const BURST: usize = 40;

/// What is on record: steps of messages as (message, step, client), and how many gaps.
fn on_record(home: &Home) -> (Vec<(String, String, String)>, usize) {
    let folder = home.data_dir().join("messages");
    let output = finish_within(PATIENCE, tracemq().args(["store", "export", "-D"]).arg(folder));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text_of = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let steps = lines
        .iter()
        .filter(|line| line.get("gap").is_none())
        .map(|line| (text_of(&line["details"]["message"]["id"]), text_of(&line["reason"]), text_of(&line["client"])));
    (steps.collect(), lines.iter().filter(|line| line.get("gap").is_some()).count())
}

#[test]
fn s15_what_was_seen_of_messages_survives_kills() {
    let home = Home::new("[trace.messages]\ntopics = ['t/#']\n");
    let mut seen = BTreeSet::new();
    for round in 0..KILLS {
        let mut server = home.start();
        let mut device = Device::connect(&server, &Connect::new(Version::V311, "pump"));
        device.send(&subscribe(Version::V311, "t/#"));
        let mut burst =
            || (0..BURST).for_each(|n| device.send(&publish(Version::V311, &format!("t/{round}/{n}"), b"x")));
        burst();
        // Some are on record, others are under way.
        let before = seen.len();
        wait_until("steps of messages on record", || {
            let (steps, _) = on_record(&home);
            seen.extend(steps);
            if seen.len() > before { Ok(()) } else { Err(before) }
        });
        burst();
        server.kill();
        let (steps, gaps) = on_record(&home);
        let after: BTreeSet<_> = steps.iter().cloned().collect();
        assert!(seen.is_subset(&after), "{:?} is lost", seen.difference(&after).next());
        // A step stands under the client and under the message; each of these once.
        let published = steps.iter().filter(|(_, step, client)| step == "message-published" && client == "pump");
        let published: Vec<_> = published.map(|(id, ..)| id).collect();
        assert_eq!(published.iter().collect::<BTreeSet<_>>().len(), published.len(), "one is there twice");
        assert!(published.len() > round, "{published:?}");
        assert_eq!(gaps, round, "of the kills before");
        seen.extend(after);
    }
}
