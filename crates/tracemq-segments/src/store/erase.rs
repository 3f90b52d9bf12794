//! Taking one subject's history away: at once from every answer, and from the disk when its files are next rewritten.

use tracemq_model::{InstanceId, Subject};
use tracemq_store::StoreError;
use tracing::info;

use super::{Shared, lock};
use crate::key;
use crate::manifest::Erasure;

impl Shared {
    pub(super) fn erase(&self, instance: &InstanceId, subject: &Subject) -> Result<u64, StoreError> {
        let mut key = Vec::new();
        key::push_key(instance, subject, &mut key);
        let mut hidden = 0;
        let mut writer = self.writer.lock().map_err(|_| StoreError::Poisoned { path: self.dir.clone() })?;
        // Nothing is sealed meanwhile, so that each row is either in a memtable or in a segment. A merge that goes on makes a
        // segment no newer than the erasure, in which the rows stay hidden.
        let _sealing = lock(&self.sealing);
        // What is in the log stays there until its memtable is sealed: the note goes behind it.
        writer.wal.erase(&key)?;
        let view = self.view();
        for memtable in view.frozen.iter().map(|frozen| &frozen.memtable).chain([&writer.active]) {
            hidden += u64::try_from(memtable.erase(&key)).unwrap_or(0);
        }
        let newest = writer.sequence.saturating_sub(1);
        drop(writer);
        let snapshot = self.snapshot();
        let (mut is_stored, mut stored) = (false, Vec::new());
        for segment in snapshot.segments() {
            if snapshot.is_erased(segment, &key) {
                continue;
            }
            match segment.find(&key) {
                Ok(Some(rows)) => {
                    hidden += rows.end - rows.start;
                    stored.push((segment.meta().id.number, rows));
                    is_stored = true;
                }
                Ok(None) => {}
                // What can't be read may hold it.
                Err(StoreError::Damaged { .. }) => is_stored = true,
                Err(error) => return Err(error),
            }
        }
        if is_stored {
            let mut publisher = lock(&self.publisher);
            let mut carried = publisher.carried.clone();
            for (segment, rows) in &stored {
                carried.forget(*segment, rows);
            }
            self.publish(
                &mut publisher,
                Some(carried),
                |manifest| {
                    manifest.erasures.retain(|erasure| erasure.key != key);
                    manifest.erasures.push(Erasure { key: key.clone(), seq: newest });
                },
                |_| {},
            )?;
        }
        info!(events = hidden, "erased the history of one subject");
        Ok(hidden)
    }
}
