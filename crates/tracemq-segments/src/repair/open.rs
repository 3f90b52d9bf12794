//! Which list of open connections counts, and where the rows that it names went.

use std::path::Path;
use std::sync::Arc;

use tracemq_model::{Action, Event};
use tracemq_store::StoreError;

use super::choose::{Chosen, find, is_same};
use super::found::Found;
use crate::carried::{self, Carried, Place};
use crate::fs::Fs;
use crate::key;
use crate::row::Row;
use crate::segment::Segment;

pub(super) struct Open {
    /// The file that the manifest names.
    pub(super) number: Option<u64>,
    /// The list to write, when it is no file's.
    pub(super) rewritten: Option<Carried>,
    /// Whether there was a list, and none can be read.
    pub(super) is_lost: bool,
}

/// The newest list that can be read. What it says of the past holds whether a manifest ever named it or not.
pub(super) fn choose(fs: &dyn Fs, dir: &Path, found: &Found, chosen: &Chosen) -> Result<Open, StoreError> {
    let named = found.base.as_ref().and_then(|(base, _)| base.orphans);
    let mut numbers = found.opens.clone();
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    for number in numbers {
        let (_, unread) = carried::verify(fs, dir, found.store, number)?;
        if unread.is_some() {
            continue;
        }
        let mut events = Vec::new();
        let list = Carried::load(fs, dir, found.store, number, &found.whole, &mut |event| events.push(event))?;
        let moved = moved(&list, &events, found, chosen)?;
        let rewritten = moved.differs_from(&list).then_some(moved);
        return Ok(Open { number: Some(number), rewritten, is_lost: false });
    }
    Ok(Open { number: None, rewritten: None, is_lost: named.is_some() || !found.opens.is_empty() })
}

/// The same list, of rows of live segments. What is in none stands in the log, or is gone.
fn moved(list: &Carried, events: &[Event], found: &Found, chosen: &Chosen) -> Result<Carried, StoreError> {
    let early: Vec<_> = list.early().collect();
    let mut begun = Vec::new();
    for segment in &found.whole {
        for (row, connection) in list.rows_of(segment.meta().id.number) {
            let Some(event) = events.iter().find(|event| event.connection == connection) else { continue };
            let is_connect = event.action == Action::Connect;
            let place = if chosen.live.iter().any(|live| is_same(live, segment)) {
                Some((segment.meta().id.number, row))
            } else {
                place_in(&chosen.live, event)?
            };
            begun.extend(place.map(|(segment, row)| (connection, Place { segment, row, is_connect })));
        }
    }
    let mut moved = Carried::default();
    moved.advance(&[], &early, &[]);
    moved.advance(&begun, &[], &[]);
    Ok(moved)
}

fn place_in(live: &[Arc<Segment>], event: &Event) -> Result<Option<(u64, u64)>, StoreError> {
    let mut key = Vec::new();
    key::push_key_of(event, &mut key);
    for segment in live {
        let is_it = |row: &Row| {
            row.connection == event.connection && row.kind.parts().is_some_and(|(action, ..)| action == event.action)
        };
        match find(segment, &key, event.time, is_it) {
            Ok(Some(Some(row))) => return Ok(Some((segment.meta().id.number, row))),
            Ok(Some(None) | None) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
