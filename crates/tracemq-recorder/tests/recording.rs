//! What is handed over is brought to the store: in order, once, in batches.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::{Fake, LONG, State, clock, event, prompt};
use tracemq_model::{Gap, GapCause, Reason, TimeMs};
use tracemq_recorder::{Recorder, RecorderCounts, RecorderSettings, approximate_bytes};

#[test]
fn events_arrive_in_order_and_once() {
    let store = Fake::new(State::default());
    let settings = RecorderSettings { batch_events_max: 100, ..prompt() };
    let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
    for number in 0..10_000 {
        recorder.clone().record(event(number, 1));
    }
    assert!(recorder.flush(LONG));
    let counts = recorder.counts();
    assert_eq!((counts.recorded, counts.lost.total(), counts.queued), (10_000, 0, 0));
    assert_eq!((counts.lag, counts.last_error), (Duration::ZERO, None));
    let state = store.state.lock().unwrap();
    assert_eq!(state.numbers(), (0..10_000).collect::<Vec<_>>());
    assert!(state.batches.iter().all(|batch| batch.events.len() <= 100));
    assert_eq!(counts.batches, u64::try_from(state.batches.len()).unwrap());
}

#[test]
fn a_batch_is_gathered_until_it_is_full() {
    let store = Fake::new(State::default());
    let settings = RecorderSettings { batch_events_max: 3, linger: LONG, ..prompt() };
    let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
    for number in 0..3 {
        recorder.record(event(number, 1));
    }
    store.wait_until(|state| state.batches.len() == 1);
    assert_eq!(store.state.lock().unwrap().numbers(), [0, 1, 2]);
}

#[test]
fn neither_flush_nor_stop_waits_for_a_batch_to_fill() {
    let store = Fake::new(State::default());
    let settings = RecorderSettings { linger: 10 * LONG, ..prompt() };
    let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
    recorder.record(event(0, 1));
    assert!(recorder.flush(LONG));
    recorder.record(event(1, 1));
    assert_eq!(recorder.stop(LONG).recorded, 2);
}

#[test]
fn the_queue_is_bounded_in_events_and_the_rest_is_a_gap() {
    let store = Fake::new(State::default());
    let settings = RecorderSettings { queue_events_max: 10, batch_events_max: 4, ..prompt() };
    let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
    store.close_gate();
    for number in 0..15 {
        recorder.record(event(number, 1_000 + i64::try_from(number).unwrap()));
    }
    let counts = recorder.counts();
    assert_eq!((counts.recorded, counts.queued, counts.lost.queue_full), (0, 10, 5));
    assert!(!recorder.flush(Duration::ZERO));
    store.open_gate();
    assert!(recorder.flush(LONG));
    let counts = recorder.stop(LONG);
    assert_eq!((counts.recorded, counts.queued, counts.lost.queue_full), (10, 0, 5));
    let state = store.state.lock().unwrap();
    assert_eq!(state.numbers(), (0..10).collect::<Vec<_>>());
    assert_eq!(
        state.gaps(),
        [Gap { from: TimeMs(1_010), to: TimeMs(1_014), lost: Some(5), cause: GapCause::QueueFull }]
    );
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let store = Fake::new(State::default());
    let queue_bytes_max = approximate_bytes(&event(0, 1)) * 3;
    let recorder = Recorder::start(store.clone(), clock(0), RecorderSettings { queue_bytes_max, ..prompt() }).unwrap();
    store.close_gate();
    for number in 0..5 {
        recorder.record(event(number, 1));
    }
    assert_eq!((recorder.counts().queued, recorder.counts().lost.queue_full), (3, 2));
    store.open_gate();
    assert!(recorder.flush(LONG));
    recorder.record(event(9, 1));
    assert_eq!(recorder.stop(LONG).recorded, 4);
}

#[test]
fn stop_drains_and_lets_go_of_the_store() {
    let store = Fake::new(State::default());
    let recorder = Recorder::start(store.clone(), clock(77), prompt()).unwrap();
    for number in 0..100 {
        recorder.record(event(number, 1));
    }
    assert_eq!(recorder.stop(LONG).recorded, 100);
    assert_eq!(Arc::strong_count(&store), 1);
    assert_eq!(store.state.lock().unwrap().marks.last(), Some(&TimeMs(77)));
    recorder.record(event(100, 1));
    let counts = recorder.stop(LONG);
    assert_eq!((counts.recorded, counts.lost.not_running, counts.lost.total()), (100, 1, 1));
    assert!(recorder.flush(Duration::ZERO));
}

#[test]
fn a_stop_that_takes_too_long_gives_up_what_waits() {
    let store = Fake::new(State::default());
    let settings = RecorderSettings { batch_events_max: 2, ..prompt() };
    let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
    store.close_gate();
    for number in 0..2 {
        recorder.record(event(number, 1));
    }
    store.wait_until(|state| state.appends > 0);
    for number in 2..7 {
        recorder.record(event(number, 1));
    }
    let counts = recorder.stop(Duration::ZERO);
    assert_eq!(counts.recorded + counts.lost.total() + counts.queued, 7);
    assert!((1..=2).contains(&counts.queued), "{counts:?}");
    assert!(counts.lost.store_failed >= 5, "{counts:?}");
    store.open_gate();
    let counts = recorder.stop(LONG);
    assert_eq!((counts.recorded + counts.lost.store_failed, counts.queued), (7, 0));
    assert_eq!(u64::try_from(store.state.lock().unwrap().numbers().len()).unwrap(), counts.recorded);
}

#[test]
fn without_handles_the_queue_is_drained_all_the_same() {
    let store = Fake::new(State::default());
    let settings = RecorderSettings { linger: 10 * LONG, ..prompt() };
    let recorder = Recorder::start(store.clone(), clock(0), settings).unwrap();
    let other = recorder.clone();
    recorder.record(event(0, 1));
    drop(recorder);
    other.record(event(1, 1));
    drop(other);
    store.wait_until(|state| state.numbers() == [0, 1]);
}

#[test]
fn switched_off_it_drops_everything() {
    let recorder = Recorder::off();
    assert!(recorder.is_off());
    recorder.record(event(0, 1));
    assert!(recorder.flush(Duration::ZERO));
    assert_eq!(recorder.counts(), RecorderCounts::default());
    assert_eq!(recorder.pending_gaps(), []);
    assert_eq!(recorder.stop(Duration::ZERO), RecorderCounts::default());
}

#[test]
fn it_starts_by_settling_the_last_run() {
    let orphans = vec![event(1, 100), event(2, 900), event(3, 200)];
    let store = Fake::new(State { orphans, last_alive: Some(TimeMs(500)), ..State::default() });
    let settings = RecorderSettings { batch_events_max: 2, ..prompt() };
    let recorder = Recorder::start(store.clone(), clock(2_000), settings).unwrap();
    recorder.stop(LONG);
    let state = store.state.lock().unwrap();
    assert_eq!(state.numbers(), [1, 2, 3]);
    let ends: Vec<_> = state.batches.iter().flat_map(|batch| &batch.events).collect();
    assert!(ends.iter().all(|end| end.reason == Reason::ServerLost && end.action.is_end()));
    assert_eq!(ends.iter().map(|end| end.time.0).collect::<Vec<_>>(), [900, 900, 900]);
    let gap = Gap { from: TimeMs(500), to: TimeMs(2_000), lost: None, cause: GapCause::NotRunning };
    // With the last batch, so that a start that is cut off is made up for by the next.
    assert_eq!(state.batches.iter().map(|batch| batch.gaps.len()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(state.gaps(), [gap]);
}

#[test]
fn a_new_store_has_no_gap_and_a_stepped_clock_makes_no_inside_out_one() {
    let store = Fake::new(State::default());
    Recorder::start(store.clone(), clock(2_000), prompt()).unwrap().stop(LONG);
    assert!(store.state.lock().unwrap().batches.is_empty());

    let store = Fake::new(State { last_alive: Some(TimeMs(5_000)), ..State::default() });
    Recorder::start(store.clone(), clock(2_000), prompt()).unwrap().stop(LONG);
    let gap = Gap { from: TimeMs(2_000), to: TimeMs(5_000), lost: None, cause: GapCause::NotRunning };
    assert_eq!(store.state.lock().unwrap().gaps(), [gap]);
}
