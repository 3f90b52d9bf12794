//! Room that a full disk has left for deleting: that takes a manifest.

use tracemq_store::StoreError;

use super::merge::FREE_MIN;
use super::{Shared, lock};
use crate::Retention;
use crate::fs::write_all_at;

const NAME: &str = "reserve";
#[cfg(not(test))]
const BYTES: usize = 4 << 20;
#[cfg(test)]
const BYTES: usize = 16 << 10;

impl Shared {
    /// Keeps some room on a disk that is full some day.
    pub(super) fn keep_a_reserve(&self) {
        let length = u64::try_from(BYTES).unwrap_or(0);
        let found = self.fs.open_to_read(&self.dir.join(NAME)).and_then(|file| file.length());
        let may_delete = self.settings.retention != Retention::default();
        if may_delete
            && !found.is_ok_and(|found| found == length)
            && self.fs.free_space(&self.dir).is_ok_and(|free| free >= FREE_MIN)
        {
            self.make_the_reserve();
        }
    }

    /// Does `work`, which deletes files and was refused as `full`, in the room of the reserve. That is taken back at once, from
    /// what was deleted; or when it was not enough, for there may be less to write one day.
    pub(super) fn with_the_reserve(
        &self,
        full: StoreError,
        work: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // What arrives meanwhile would take the room.
        let _writer = lock(&self.writer);
        let _sealing = self.sealing.try_lock();
        if self.fs.remove(&self.dir.join(NAME)).is_err() {
            return Err(full);
        }
        let done = work();
        self.make_the_reserve();
        done
    }

    /// Bytes that can't be compressed take the room for sure.
    fn make_the_reserve(&self) {
        let path = self.dir.join(NAME);
        let mut bytes = vec![0; BYTES];
        let _ = getrandom::fill(&mut bytes);
        let written = self.fs.create(&path).and_then(|file| {
            write_all_at(&*file, &bytes, 0)?;
            file.sync()
        });
        if written.is_err() {
            let _ = self.fs.remove(&path);
        }
    }
}
