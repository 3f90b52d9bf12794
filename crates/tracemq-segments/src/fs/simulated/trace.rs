//! What was done to a disk, call after call.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The calls, one a line; none while nobody wants them. Shared by a disk and what is left of it when the power goes.
#[derive(Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Option<String>>>);

impl Trace {
    /// From now on, or from whenever it was begun.
    pub(super) fn begin(&self) {
        self.0.lock().unwrap().get_or_insert_default();
    }

    pub(super) fn take(&self) -> String {
        self.0.lock().unwrap().take().unwrap_or_default()
    }

    /// Notes a call, with whatever numbers say what it did.
    pub(super) fn note(&self, call: &str, path: &Path, numbers: &[u64]) {
        if let Some(trace) = &mut *self.0.lock().unwrap() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            writeln!(trace, "{call} {name} {numbers:?}").unwrap();
        }
    }
}
