//! Any history, any question: the answer is that of a plain sorted list.

mod list;
mod step;

use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::test_runner::{Config, TestRunner};
use tracemq_model::{Event, Filter, Order, Tally, TraceQuery};

use super::{Harness, append, counts, orphans, page, sessions, subjects};
use crate::EventStore;
use list::List;
use step::{Names, Step};

/// Each case opens files, and syncs for each batch. The environment variable `PROPTEST_CASES` asks for another number.
const CASES: u32 = 64;
const STEPS_MAX: usize = 40;

/// Appends, questions, erasures and restarts in any order: each answer equals that of a list sorted by (time, arrival).
pub fn answers_are_those_of_a_sorted_list<H: Harness>(new: impl Fn() -> H) {
    let default = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { CASES };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..default });
    let outcome = runner.run(&vec(step::any(), 1..STEPS_MAX), |steps| {
        run(&new(), &steps);
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.err().map(|error| error.to_string()).unwrap_or_default());
}

fn run(harness: &dyn Harness, steps: &[Step]) {
    let mut store = harness.open();
    let mut list = List::default();
    for step in steps {
        if matches!(step, Step::Reopen) {
            drop(store);
            store = harness.open();
            list.check_orphans(&orphans(&*store));
            if list.erasures == 0 {
                assert_eq!(store.stats().events, count(list.len()));
            }
        } else {
            take(harness, &*store, &mut list, step);
        }
    }
}

fn take(harness: &dyn Harness, store: &dyn EventStore, list: &mut List, step: &Step) {
    match step {
        Step::Append(rows) => append(store, list.append(rows)),
        Step::Page(query) => compare_page(store, list, query),
        Step::Scan { filter, order, stop_after } => compare_scan(store, list, filter, *order, *stop_after),
        Step::Counts { filter, bucket_ms } => {
            assert_eq!(counts(store, filter, *bucket_ms), list.counts(filter, *bucket_ms), "{filter:?} {bucket_ms}");
        }
        Step::Tally { filter, stop_after } => compare_tally(store, list, filter, *stop_after),
        Step::Names(names) => compare_names(store, list, names),
        Step::Sessions(query) => compare_sessions(store, list, query),
        Step::State { instance, subject } => {
            let state = store.current_state(instance, subject).expect("the store answers");
            assert_eq!(state, list.current_state(instance, subject), "{instance} {subject:?}");
        }
        Step::Erase { instance, subject } => {
            let hidden = store.erase(instance, subject).expect("the store erases");
            assert_eq!(hidden, list.erase(instance, subject), "{instance} {subject:?}");
        }
        Step::Settle(how) => harness.settle(store, *how),
        Step::Reopen => {}
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn compare_page(store: &dyn EventStore, list: &List, query: &TraceQuery) {
    let matching = list.of_subject(query);
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
    let expected: Vec<Event> = matching.iter().skip(offset).take(query.limit).cloned().collect();
    let answer = page(store, query);
    assert_eq!((answer.total, answer.events), (count(matching.len()), expected), "{query:?}");
}

fn compare_scan(store: &dyn EventStore, list: &List, filter: &Filter, order: Order, stop_after: Option<usize>) {
    let mut seen = Vec::new();
    let mut visit = |event: &Event| {
        seen.push(event.clone());
        if Some(seen.len()) == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.scan(filter, order, &mut visit).expect("the store answers");
    let mut expected = list.scan(filter, order);
    expected.truncate(stop_after.unwrap_or(usize::MAX));
    assert_eq!(seen, expected, "{filter:?} {order:?}");
}

fn compare_tally(store: &dyn EventStore, list: &List, filter: &Filter, stop_after: Option<usize>) {
    let mut seen = Vec::new();
    let mut visit = |tally: &Tally| {
        seen.push(tally.clone());
        if Some(seen.len()) == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.tally(filter, &mut visit).expect("the store answers");
    let mut expected = list.tally(filter);
    expected.truncate(stop_after.unwrap_or(usize::MAX));
    assert_eq!(seen, expected, "{filter:?}");
}

fn compare_names(store: &dyn EventStore, list: &List, names: &Names) {
    let mut expected = list.names(names);
    let more = expected.len() > names.limit;
    expected.truncate(names.limit);
    let answer = subjects(store, &names.instance, &names.pattern, names.after.as_ref(), names.limit);
    assert_eq!((answer.subjects, answer.more), (expected, more), "{names:?}");
}

/// The answer itself, and all that its continuations lead to.
fn compare_sessions(store: &dyn EventStore, list: &List, query: &TraceQuery) {
    let expected: Vec<_> = list.sessions(query);
    let mut from = query.offset;
    let mut left: Vec<_> = expected.into_iter().filter(|(at, _)| *at >= from).map(|(_, session)| session).collect();
    loop {
        let answer = sessions(store, &TraceQuery { offset: from, ..query.clone() });
        let rest = left.split_off(left.len().min(query.limit));
        assert_eq!(answer.sessions, left, "{query:?} at {from}");
        left = rest;
        let Some(next) = answer.next_offset else { break };
        assert!(next > from, "{query:?}: from {from} on to {next}");
        from = next;
    }
    assert_eq!(left, [], "{query:?}: no more from {from} on");
}
