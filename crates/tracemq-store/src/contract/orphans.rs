//! Promises about connections that nobody ended, and the last sign of life.

use tracemq_model::{Action, Event, TimeMs, close_orphan};

use super::{Harness, act, append, orphans};

/// What was open when the store was last closed is found at the next start, and only then.
pub fn a_beginning_without_an_end_is_an_orphan(harness: &dyn Harness) {
    let store = harness.open();
    let waiting = act(Action::Open, 1, 10);
    let connected = act(Action::Connect, 2, 20);
    append(&*store, &[waiting.clone(), connected.clone(), act(Action::Connect, 3, 30), act(Action::Close, 3, 40)]);
    append(&*store, &[act(Action::Close, 4, 50), act(Action::Connect, 5, 50), act(Action::Disconnect, 5, 51)]);
    assert_eq!(orphans(&*store), []);
    drop(store);
    assert_eq!(orphans(&*harness.open()), [waiting, connected]);
}

/// Of an open and a connect, the connect says more and is later in a connection's life, whatever the clock said.
pub fn the_later_beginning_is_the_orphan(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[act(Action::Open, 1, 10), act(Action::Connect, 1, 20), act(Action::Open, 2, 10)]);
    append(&*store, &[act(Action::Connect, 2, 5)]);
    drop(store);
    assert_eq!(orphans(&*harness.open()), [act(Action::Connect, 1, 20), act(Action::Connect, 2, 5)]);
}

/// An end counts in whichever batch and run it comes.
pub fn an_end_in_a_later_batch_ends_it(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[act(Action::Connect, 1, 10), act(Action::Connect, 2, 10)]);
    append(&*store, &[act(Action::Close, 1, 20)]);
    drop(store);
    let store = harness.open();
    assert_eq!(orphans(&*store), [act(Action::Connect, 2, 10)]);
    append(&*store, &[act(Action::Disconnect, 2, 30)]);
    drop(store);
    assert_eq!(orphans(&*harness.open()), []);
}

/// The order of arrival is not that of life when events come from several sources.
pub fn an_end_that_arrives_first_ends_it(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[act(Action::Close, 1, 20)]);
    append(&*store, &[act(Action::Open, 1, 9), act(Action::Connect, 1, 10)]);
    drop(store);
    assert_eq!(orphans(&*harness.open()), []);
}

/// A connection that was silent at first and then connected and ended at once: its first beginning is not left over, however far
/// before the others it was written.
pub fn an_end_ends_each_beginning(harness: &dyn Harness) {
    let store = harness.open();
    let waiting = Event { client: None, ..act(Action::Open, 1, 10) };
    append(&*store, std::slice::from_ref(&waiting));
    harness.settle(&*store, 14);
    append(&*store, &[act(Action::Connect, 1, 20), act(Action::Close, 1, 30)]);
    append(&*store, &[act(Action::Connect, 2, 40)]);
    harness.settle(&*store, 15);
    // Those of another source may come the other way round.
    append(&*store, &[act(Action::Open, 2, 35), act(Action::Disconnect, 2, 50)]);
    drop(store);
    for _ in 0..2 {
        assert_eq!(orphans(&*harness.open()), []);
    }
}

/// What a recorder does at start is enough.
pub fn a_closed_orphan_is_none_at_the_next_start(harness: &dyn Harness) {
    let store = harness.open();
    append(&*store, &[act(Action::Open, 1, 10), act(Action::Connect, 1, 11), act(Action::Open, 2, 12)]);
    drop(store);
    let store = harness.open();
    let ends: Vec<Event> = orphans(&*store).iter().map(|event| close_orphan(event, TimeMs(100))).collect();
    assert_eq!(ends.len(), 2);
    append(&*store, &ends);
    drop(store);
    assert_eq!(orphans(&*harness.open()), []);
}

/// There may be more orphans than memory for them: a recorder asks twice, and closes them as they come. That the beginnings move
/// meanwhile, and that connections begin, changes nothing.
pub fn orphans_can_be_closed_while_they_are_shown(harness: &dyn Harness) {
    let store = harness.open();
    let begun: Vec<Event> = (1..=40).map(|number| act(Action::Connect, number, 10 + i64::from(number))).collect();
    let (sealed, in_log) = begun.split_at(30);
    append(&*store, sealed);
    harness.settle(&*store, 18);
    append(&*store, in_log);
    drop(store);
    let store = harness.open();
    assert_eq!(orphans(&*store), begun);
    append(&*store, &[act(Action::Connect, 50, 90)]);
    harness.settle(&*store, 19);
    let mut shown = Vec::new();
    let visited = store.orphans(&mut |beginning| {
        append(&*store, &[close_orphan(&beginning, TimeMs(100))]);
        shown.push(beginning);
        if shown.len() % 16 == 0 {
            harness.settle(&*store, 20);
        }
    });
    visited.expect("the store answers");
    shown.sort_by_key(|event| event.connection);
    assert_eq!(shown, begun);
    drop(store);
    assert_eq!(orphans(&*harness.open()), [act(Action::Connect, 50, 90)]);
}

/// A new store never lived; later ones know when the run before was last alive, whatever happens in their own.
pub fn the_last_sign_of_life_is_that_of_the_run_before(harness: &dyn Harness) {
    let store = harness.open();
    assert_eq!(store.last_alive(), None);
    drop(store);
    let store = harness.open();
    assert_eq!(store.last_alive(), None);
    store.mark_alive(TimeMs(1_621_580_400_123)).expect("the store notes it");
    store.mark_alive(TimeMs(1_621_580_401_456)).expect("the store notes it");
    assert_eq!(store.last_alive(), None);
    drop(store);
    drop(harness.open());
    let store = harness.open();
    assert_eq!(store.last_alive(), Some(TimeMs(1_621_580_401_456)));
    append(&*store, &[act(Action::Connect, 1, 2_000_000_000_000)]);
    // A clock that stepped back.
    store.mark_alive(TimeMs(1_621_580_400_000)).expect("the store notes it");
    drop(store);
    assert_eq!(harness.open().last_alive(), Some(TimeMs(1_621_580_400_000)));
}
