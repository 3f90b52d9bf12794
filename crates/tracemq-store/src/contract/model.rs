//! Any history, any question: the answer is that of a plain sorted list.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::test_runner::{Config, TestRunner};
use tracemq_model::{Event, Order, Subject, TimeMs, TimeRange, TraceQuery};

use super::{Harness, append, client, event, page, query};
use crate::EventStore;

const CLIENTS: [&str; 3] = ["a", "A", "b"];
/// Each case opens files, and syncs for each batch.
const CASES: u32 = 48;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(usize, i64)>),
    Ask { client: usize, range: (i64, i64), newest_first: bool, offset: u64, limit: usize },
    Reopen,
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0..30_i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>()]
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![9 => 0..40_u64, 1 => any::<u64>()];
    let ask = (0..CLIENTS.len(), (time(), time()), any::<bool>(), offset, 0..30_usize);
    prop_oneof![
        6 => vec((0..CLIENTS.len(), time()), 0..20).prop_map(Step::Append),
        8 => ask.prop_map(|(client, range, newest_first, offset, limit)| {
            Step::Ask { client, range, newest_first, offset, limit }
        }),
        1 => Just(Step::Reopen),
    ]
}

/// Appends, questions and restarts in any order: each answer equals that of a list sorted by (time, arrival).
pub fn answers_are_those_of_a_sorted_list<H: Harness>(new: impl Fn() -> H) {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&vec(step(), 1..25), |steps| {
        run(&new(), &steps);
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.err().map(|error| error.to_string()).unwrap_or_default());
}

fn run(harness: &dyn Harness, steps: &[Step]) {
    let mut store = Some(harness.open());
    let mut list: Vec<Event> = Vec::new();
    let mut number = 0;
    for step in steps {
        match (step, &store) {
            (Step::Append(rows), Some(store)) => {
                let mut events = Vec::new();
                for (client, time) in rows {
                    events.push(event(CLIENTS.get(*client).copied().unwrap_or("a"), *time, number));
                    number += 1;
                }
                append(&**store, &events);
                list.extend(events);
                // Stable: events of the same time stay in the order of arrival.
                list.sort_by_key(|event| event.time);
            }
            (Step::Ask { client: index, range, newest_first, offset, limit }, Some(store)) => {
                let range = TimeRange { from: TimeMs(range.0), to: TimeMs(range.1) };
                let order = if *newest_first { Order::NewestFirst } else { Order::OldestFirst };
                let subject = client(CLIENTS.get(*index).copied().unwrap_or("a"));
                let query = TraceQuery { range, order, offset: *offset, limit: *limit, ..query(subject) };
                compare(&**store, &list, &query);
            }
            (Step::Reopen, _) => {
                store = None;
                store.get_or_insert_with(|| harness.open());
            }
            (Step::Append(_) | Step::Ask { .. }, None) => {}
        }
    }
}

fn compare(store: &dyn EventStore, list: &[Event], query: &TraceQuery) {
    let mut matching: Vec<&Event> = list
        .iter()
        .filter(|e| Subject::of(e).as_ref() == Some(&query.subject) && query.range.contains(e.time))
        .collect();
    let total = u64::try_from(matching.len()).unwrap_or(u64::MAX);
    if query.order == Order::NewestFirst {
        matching.reverse();
    }
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
    let expected: Vec<Event> = matching.into_iter().skip(offset).take(query.limit).cloned().collect();
    let answer = page(store, query);
    assert_eq!((answer.total, answer.events), (total, expected), "{query:?}");
}
