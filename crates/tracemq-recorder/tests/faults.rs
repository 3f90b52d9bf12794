//! Whatever the store does: the process lives, every event is recorded or counted, and what is lost becomes a gap.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use std::sync::Arc;

use fake::{Fake, Fault, LONG, State, clock, event, prompt};
use proptest::prelude::*;
use tracemq_model::{Gap, GapCause, TimeMs};
use tracemq_recorder::{Recorder, RecorderSettings};

fn store_failed(from: i64, to: i64, lost: u64) -> Gap {
    Gap { from: TimeMs(from), to: TimeMs(to), lost: Some(lost), cause: GapCause::StoreFailed }
}

/// Records the events one flush each, so that each is a batch; gives the recorder.
fn record_apart(store: &Arc<Fake>, settings: RecorderSettings, numbers: impl Iterator<Item = u128>) -> Recorder {
    let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
    for number in numbers {
        recorder.record(event(number, i64::try_from(number).unwrap()));
        assert!(recorder.flush(LONG));
    }
    recorder
}

#[test]
fn a_store_that_fails_for_a_while_loses_nothing() {
    for fault in [Fault::Full, Fault::Io] {
        let store = Fake::failing([Some(fault), Some(fault), None, Some(fault)]);
        let recorder = record_apart(&store, RecorderSettings { retries_max: 2, ..prompt() }, 1..=2);
        assert!(!recorder.counts().failing);
        let counts = recorder.stop(LONG);
        assert_eq!((counts.recorded, counts.lost.total()), (2, 0));
        assert!(counts.last_error.unwrap().ends_with("file: cable pulled"));
        assert_eq!(store.state.lock().unwrap().numbers(), [1, 2]);
        assert_eq!(store.state.lock().unwrap().gaps(), []);
    }
}

#[test]
fn a_store_that_fails_too_often_loses_the_batch_and_gets_a_gap() {
    let store = Fake::failing([Some(Fault::Full); 4]);
    let settings = RecorderSettings { retries_max: 1, ..prompt() };
    let counts = record_apart(&store, settings, 10..=13).stop(LONG);
    assert_eq!((counts.recorded, counts.lost.store_failed), (2, 2));
    let state = store.state.lock().unwrap();
    assert_eq!(state.numbers(), [12, 13]);
    assert_eq!(state.batches.first().unwrap().gaps, [store_failed(10, 11, 2)]);
    assert_eq!(state.gaps().len(), 1);
}

#[test]
fn what_is_not_worth_a_retry_gets_none() {
    let store = Fake::failing([Some(Fault::Damaged)]);
    let counts = record_apart(&store, prompt(), 1..=2).stop(LONG);
    assert_eq!((counts.recorded, counts.lost.store_failed), (1, 1));
    assert_eq!(store.state.lock().unwrap().appends, 2);
}

#[test]
fn a_poisoned_store_is_left_alone_and_not_marked() {
    let store = Fake::failing([None, Some(Fault::Poisoned)]);
    let recorder = record_apart(&store, prompt(), 1..=5);
    let counts = recorder.stop(LONG);
    assert_eq!((counts.recorded, counts.lost.store_failed), (1, 4));
    let state = store.state.lock().unwrap();
    assert_eq!(state.appends, 2);
    // The next start's gap begins at the last mark: it has to lie before the first loss.
    assert!(state.marks.len() <= 1, "{:?}", state.marks);
}

#[test]
fn a_panic_of_the_store_is_a_loss_and_no_more() {
    let store = Fake::failing([Some(Fault::Panic)]);
    let recorder = record_apart(&store, prompt(), 1..=3);
    let counts = recorder.stop(LONG);
    assert_eq!((counts.recorded, counts.lost.store_failed), (2, 1));
    assert_eq!(counts.last_error.as_deref(), Some("the store panicked"));
    let state = store.state.lock().unwrap();
    assert_eq!((state.numbers(), state.gaps()), (vec![2, 3], vec![store_failed(1, 1, 1)]));
}

#[test]
fn the_last_losses_are_written_without_another_event() {
    let store = Fake::failing([Some(Fault::Panic)]);
    record_apart(&store, prompt(), 7..=7).stop(LONG);
    let state = store.state.lock().unwrap();
    assert_eq!((state.numbers(), state.gaps()), (vec![], vec![store_failed(7, 7, 1)]));
    assert!(state.marks.contains(&TimeMs(0)));
}

#[test]
fn an_idle_recorder_says_that_it_lives() {
    let store = Fake::new(State::default());
    let recorder = Recorder::start(store.clone(), clock(42), prompt()).unwrap();
    store.wait_until(|state| state.marks.len() >= 2);
    assert!(store.state.lock().unwrap().marks.iter().all(|mark| *mark == TimeMs(42)));
    drop(recorder);
}

#[test]
fn a_start_that_cannot_be_written_down_fails() {
    let store = Fake::new(State {
        last_alive: Some(TimeMs(1)),
        script: [Some(Fault::Full)].into_iter().collect(),
        ..State::default()
    });
    assert!(Recorder::start(store, clock(2), prompt()).is_err());
}

#[test]
fn a_loss_is_told_of_from_its_first_moment_on_until_the_store_has_it() {
    // Fails until told otherwise: the writer tries by itself, too.
    let store = Fake::failing([Some(Fault::Damaged); 1_000]);
    let recorder = record_apart(&store, RecorderSettings { queue_events_max: 2, ..prompt() }, 1..=1);
    assert_eq!(recorder.pending_gaps(), [store_failed(1, 1, 1)]);
    assert!(recorder.counts().failing);
    // In the writer's hands: whether the store has it is not known.
    let appends = store.state.lock().unwrap().appends;
    store.close_gate();
    recorder.record(event(2, 2));
    store.wait_until(|state| state.appends > appends);
    assert_eq!(recorder.pending_gaps(), [store_failed(1, 1, 1)]);
    recorder.record(event(3, 3));
    recorder.record(event(4, 4));
    let queue_full = Gap { cause: GapCause::QueueFull, ..store_failed(4, 4, 1) };
    assert_eq!(recorder.pending_gaps(), [store_failed(1, 1, 1), queue_full]);
    store.state.lock().unwrap().script.clear();
    store.open_gate();
    let counts = recorder.stop(LONG);
    assert_eq!((counts.recorded, counts.failing), (2, false));
    assert_eq!(recorder.pending_gaps(), []);
    assert_eq!(store.state.lock().unwrap().gaps(), [store_failed(1, 1, 1), queue_full]);
    // After the stop too.
    recorder.record(event(5, 5));
    assert_eq!(recorder.pending_gaps(), [Gap { cause: GapCause::NotRunning, ..store_failed(5, 5, 1) }]);
}

#[test]
fn a_poisoned_store_fails_for_good_and_all_that_it_did_not_take_is_told_of() {
    let store = Fake::failing([None, Some(Fault::Poisoned)]);
    let recorder = record_apart(&store, prompt(), 1..=1);
    assert!(!recorder.counts().failing);
    for number in 2..=5 {
        recorder.record(event(number, i64::try_from(number).unwrap()));
        assert!(recorder.flush(LONG));
        assert!(recorder.counts().failing);
    }
    assert_eq!(recorder.pending_gaps(), [store_failed(2, 5, 4)]);
    recorder.stop(LONG);
    assert_eq!(recorder.pending_gaps(), [store_failed(2, 5, 4)]);
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        12 => Just(None),
        3 => Just(Some(Fault::Full)),
        3 => Just(Some(Fault::Io)),
        2 => Just(Some(Fault::Damaged)),
        1 => Just(Some(Fault::Panic)),
        1 => Just(Some(Fault::Poisoned)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_in_are_recorded_plus_lost(
        script in proptest::collection::vec(fault(), 0..30),
        bursts in proptest::collection::vec(0..40_u128, 1..15),
        batch_events_max in 1..20_usize,
        queue_events_max in 1..60_usize,
        retries_max in 0..3_u32,
    ) {
        let store = Fake::failing(script);
        let settings = RecorderSettings { batch_events_max, queue_events_max, retries_max, ..prompt() };
        let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
        let mut handed = 0;
        for burst in bursts {
            for _ in 0..burst {
                recorder.record(event(handed, i64::try_from(handed).unwrap()));
                handed += 1;
            }
            let counts = recorder.counts();
            prop_assert_eq!(u128::from(counts.recorded + counts.lost.total() + counts.queued), handed);
            if burst % 3 == 0 {
                prop_assert!(recorder.flush(LONG));
                prop_assert_eq!(recorder.counts().queued, 0);
            }
        }
        // The store is well again, so that it can be told of the last losses.
        prop_assert!(recorder.flush(LONG));
        store.state.lock().unwrap().script.clear();
        let counts = recorder.stop(LONG);
        prop_assert_eq!(counts.queued, 0);
        prop_assert_eq!(u128::from(counts.recorded + counts.lost.total()), handed);

        let state = store.state.lock().unwrap();
        let numbers = state.numbers();
        prop_assert_eq!(u64::try_from(numbers.len()).unwrap(), counts.recorded);
        prop_assert!(numbers.is_sorted_by(|a, b| a < b), "out of order or twice: {:?}", numbers);
        // Every lost event lies in a gap, unless the store took nothing more after it.
        let gaps = state.gaps();
        let told: u64 = gaps.iter().filter_map(|gap| gap.lost).sum();
        let pending: u64 = recorder.pending_gaps().iter().filter_map(|gap| gap.lost).sum();
        prop_assert_eq!(told + pending, counts.lost.total());
        if !counts.last_error.unwrap_or_default().contains("restart") {
            prop_assert_eq!(told, counts.lost.total());
            for number in (0..handed).filter(|number| !numbers.contains(number)) {
                let time = TimeMs(i64::try_from(number).unwrap());
                prop_assert!(gaps.iter().any(|gap| gap.range().contains(time)));
            }
        }
    }
}
