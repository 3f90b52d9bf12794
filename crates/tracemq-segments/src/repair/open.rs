//! Which list of open connections counts, and where the rows that it names went.

use std::path::Path;
use std::sync::Arc;

use tracemq_model::{ConnectionId, Event};
use tracemq_store::StoreError;

use super::choose::{Chosen, find, is_same};
use super::found::Found;
use crate::carried::{Carried, EventsAt, Place};
use crate::fs::Fs;
use crate::key;
use crate::row::Row;
use crate::segment::Segment;
use crate::store::{Unpaired, left_open};

pub(super) struct Open {
    /// The file that the manifest names.
    pub(super) number: Option<u64>,
    /// The list to write, when it is no file's.
    pub(super) rewritten: Option<Carried>,
    /// Whether there was a list, and none can be read.
    pub(super) is_lost: bool,
}

/// The newest list that can be read. What it says of the past holds whether a manifest ever named it or not. Where none can, it is made
/// anew from the segments, unless one of them can't be read either (`is_whole`).
pub(super) fn choose(
    fs: &dyn Fs,
    dir: &Path,
    found: &Found,
    chosen: &Chosen,
    is_whole: bool,
) -> Result<Open, StoreError> {
    let named = found.base.as_ref().and_then(|(base, _)| base.orphans);
    let mut numbers = found.opens.clone();
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    for number in numbers {
        let Some(list) = Carried::load(fs, dir, found.store, number)? else { continue };
        let moved = moved(&list, found, chosen)?;
        let rewritten = moved.differs_from(&list).then_some(moved);
        return Ok(Open { number: Some(number), rewritten, is_lost: false });
    }
    if named.is_none() && found.opens.is_empty() {
        return Ok(Open { number: None, rewritten: None, is_lost: false });
    }
    let cutoffs = found.base.as_ref().map(|(base, _)| base.cutoffs.as_slice()).unwrap_or_default();
    let left_open = if is_whole { left_open(&chosen.live, cutoffs)? } else { None };
    let Some(left_open) = left_open else { return Ok(Open { number: None, rewritten: None, is_lost: true }) };
    let mut anew = Carried::default();
    anew.advance(left_open);
    Ok(Open { number: None, rewritten: Some(anew), is_lost: false })
}

/// The same list, without rows of segments that are put aside. What is in no live one stands in the log, or is gone.
fn moved(list: &Carried, found: &Found, chosen: &Chosen) -> Result<Carried, StoreError> {
    let is_aside = |segment: &&Arc<Segment>| !chosen.live.iter().any(|live| is_same(live, segment));
    let aside: Vec<&Arc<Segment>> = found.whole.iter().filter(is_aside).collect();
    let mut begun = Vec::new();
    for segment in &aside {
        let mut events = EventsAt::new(segment);
        for (connection, place) in list.rows_of(segment.meta().id.number) {
            let event = match events.event(place.row, |_| false) {
                Ok(event) => event,
                Err(StoreError::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
            let moved = event.map_or(Ok(None), |event| place_in(&chosen.live, &event))?;
            let moved = moved.map(|(segment, row)| (ConnectionId(connection), Place { segment, row, ..place }));
            begun.extend(moved);
        }
    }
    let mut moved = list.clone();
    moved.forget_others(|number| !aside.iter().any(|segment| segment.meta().id.number == number));
    moved.advance(Unpaired { begun, ..Unpaired::default() });
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
