//! Which list of open connections counts, and where the rows that it names went.

use std::path::Path;
use std::sync::Arc;

use tracemq_model::{ConnectionId, Event};
use tracemq_store::StoreError;

use super::choose::{Chosen, find, is_same};
use super::found::Found;
use crate::carried::{self, Carried, Place};
use crate::fs::Fs;
use crate::key::{self, Key};
use crate::query::Keys;
use crate::row::Row;
use crate::segment::{RowCursor, Segment};
use crate::store::Unpaired;

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
        let list = Carried::load(fs, dir, found.store, number)?;
        let rewritten = moved(&list, found, chosen)?;
        return Ok(Open { number: Some(number), rewritten, is_lost: false });
    }
    Ok(Open { number: None, rewritten: None, is_lost: named.is_some() || !found.opens.is_empty() })
}

/// The same list, of rows of live segments; none when it is of such already. What is in none stands in the log, or is gone.
fn moved(list: &Carried, found: &Found, chosen: &Chosen) -> Result<Option<Carried>, StoreError> {
    let is_live = |number: u64| {
        let known = found.whole.iter().find(|segment| segment.meta().id.number == number);
        known.is_some_and(|segment| chosen.live.iter().any(|live| is_same(live, segment)))
    };
    if list.segments().all(is_live) {
        return Ok(None);
    }
    let mut begun = Vec::new();
    for segment in &found.whole {
        let number = segment.meta().id.number;
        let (mut rows, mut keys) = (segment.rows(), Keys::new(segment));
        for (connection, place) in list.rows_of(number) {
            if is_live(number) {
                begun.push((ConnectionId(connection), place));
                continue;
            }
            let event = match event_at(segment, &mut rows, &mut keys, place.row) {
                Err(StoreError::Damaged { .. }) => continue,
                event => event?,
            };
            let Some(event) = event else { continue };
            let moved = place_in(&chosen.live, &event)?;
            begun.extend(moved.map(|(segment, row)| (ConnectionId(connection), Place { segment, row, ..place })));
        }
    }
    let mut moved = Carried::default();
    moved.advance(Unpaired { ended: list.early().collect(), ..Unpaired::default() });
    moved.advance(Unpaired { begun, ..Unpaired::default() });
    Ok(Some(moved))
}

fn event_at(
    segment: &Segment,
    rows: &mut RowCursor<'_>,
    keys: &mut Keys<'_>,
    row: u64,
) -> Result<Option<Event>, StoreError> {
    let (bytes, _) = keys.of(row)?;
    let Some(key) = Key::read(bytes) else { return Ok(None) };
    let (block, at) = rows.at(row)?;
    let Some(found) = block.row(at) else { return Ok(None) };
    Ok(found.to_event(&key, segment.details(block, at)?))
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
