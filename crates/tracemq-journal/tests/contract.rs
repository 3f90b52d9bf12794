//! The journal keeps every promise of a store.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::Arc;

use tempfile::TempDir;
use tracemq_journal::{Journal, JournalSettings};
use tracemq_store::EventStore;
use tracemq_store::contract::Harness;

struct OnDisk {
    dir: TempDir,
    settings: JournalSettings,
}

impl OnDisk {
    fn new(file_bytes_max: u64) -> Self {
        let settings = JournalSettings { file_bytes_max, ..JournalSettings::default() };
        Self { dir: tempfile::tempdir().unwrap(), settings }
    }
}

impl Harness for OnDisk {
    fn open(&self) -> Arc<dyn EventStore> {
        let (journal, recovery) = Journal::open(self.dir.path(), self.settings).unwrap();
        assert_eq!((recovery.cut_bytes, recovery.damaged), (0, Vec::new()));
        Arc::new(journal)
    }
}

mod in_one_file {
    use super::{JournalSettings, OnDisk};

    tracemq_store::contract_suite!(OnDisk::new(JournalSettings::default().file_bytes_max));
}

mod in_many_files {
    use super::OnDisk;

    tracemq_store::contract_suite!(OnDisk::new(300));
}
