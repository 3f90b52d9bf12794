//! Who asked for what, and who changed what, as lines of JSON.
//!
//! Changes and questions go to files of their own, so that no flood of questions drives the changes out. A change stands in the file,
//! durably, before it is made: one that can't be written down is not made. Questions are written as they are answered.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

/// A file goes to the next name when it is longer.
const FILE_MAX_BYTES: u64 = 64 << 20;
/// How many names of older files there are: `audit-queries.1.ndjson` is the newest of them.
const OLDER_MAX: u32 = 4;
/// Longer targets are cut: a question may be as long as a request line.
const TARGET_MAX_CHARS: usize = 1_024;

/// Where a connection came from, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) way: Way,
}

/// What a connection's bytes travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    Tls,
    /// As they are, on a port where TLS is due: refused, whatever they ask for.
    PlainOnTlsPort,
}

/// A line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry<'a> {
    pub(crate) time: String,
    /// As in the answer and in the access log.
    pub(crate) request_id: &'a str,
    /// Access key id.
    pub(crate) key: &'a str,
    /// Whose key it is, where it is not the account's own. The id of one for a time tells nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'a str>,
    pub(crate) account: &'a str,
    /// What the policy was asked for: `mq:EraseMqttDeviceTrace`.
    pub(crate) action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<&'a str>,
    /// Whom or what it is about.
    pub(crate) target: &'a str,
    /// `allowed`, `denied`, or `refused` with the code; of a change `begun`, then what became of it.
    pub(crate) outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
}

/// The files; none where nothing is to be kept.
#[derive(Default)]
pub(crate) struct Audit {
    files: Option<Files>,
    lost: AtomicU64,
}

struct Files {
    changes: Mutex<Log>,
    queries: Option<Mutex<Log>>,
}

impl Audit {
    /// Writes to `audit-changes.ndjson` in `dir`, and `with_queries` to `audit-queries.ndjson` as well.
    pub(crate) fn open(dir: Option<&Path>, with_queries: bool) -> io::Result<Self> {
        let Some(dir) = dir else { return Ok(Self::default()) };
        let changes = Mutex::new(Log::open(dir, "audit-changes")?);
        let queries = with_queries.then(|| Log::open(dir, "audit-queries").map(Mutex::new)).transpose()?;
        Ok(Self { files: Some(Files { changes, queries }), lost: AtomicU64::new(0) })
    }

    /// Notes a change, durably when it returns. Blocks.
    pub(crate) fn change(&self, entry: &Entry<'_>) -> io::Result<()> {
        tracing::info!(
            request_id = entry.request_id,
            key = entry.key,
            user = entry.user,
            action = entry.action,
            target = entry.target,
            outcome = entry.outcome,
            "change by API"
        );
        let Some(files) = &self.files else { return Ok(()) };
        let mut log = files.changes.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(entry)?;
        log.file.sync_data()
    }

    /// Notes a question.
    pub(crate) fn query(&self, entry: &Entry<'_>) {
        let Some(log) = self.files.as_ref().and_then(|files| files.queries.as_ref()) else { return };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        match log.write(entry) {
            Ok(()) => {
                log.is_failing = false;
                return;
            }
            // Once, until it works again: whoever may ask may ask also when the disk is full.
            Err(error) if !log.is_failing => {
                log.is_failing = true;
                tracing::error!(%error, path = %log.path(0).display(), "can't write down who asks for what");
            }
            Err(_) => {}
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// How many questions could not be written down. (A change that can't be is not made.)
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

struct Log {
    dir: PathBuf,
    name: &'static str,
    file: File,
    bytes: u64,
    is_failing: bool,
}

impl Log {
    fn open(dir: &Path, name: &'static str) -> io::Result<Self> {
        let file = open(&path(dir, name, 0))?;
        let bytes = file.metadata()?.len();
        Ok(Self { dir: dir.to_owned(), name, file, bytes, is_failing: false })
    }

    fn path(&self, older: u32) -> PathBuf {
        path(&self.dir, self.name, older)
    }

    fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if self.bytes > 0 && self.bytes.saturating_add(line.len() as u64) > FILE_MAX_BYTES {
            self.begin_next()?;
        }
        self.file.write_all(&line)?;
        self.bytes = self.bytes.saturating_add(line.len() as u64);
        Ok(())
    }

    fn begin_next(&mut self) -> io::Result<()> {
        for older in (0..OLDER_MAX).rev() {
            match std::fs::rename(self.path(older), self.path(older + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.file = open(&self.path(0))?;
        self.bytes = 0;
        Ok(())
    }
}

fn path(dir: &Path, name: &str, older: u32) -> PathBuf {
    dir.join(if older == 0 { format!("{name}.ndjson") } else { format!("{name}.{older}.ndjson") })
}

/// For the server alone: it says who asked about whom.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// As much of a request's target as is written down.
pub(crate) fn cut(target: &str) -> String {
    target.chars().take(TARGET_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str) -> Entry<'_> {
        let time = "2026-11-22T08:00:00.000Z".to_owned();
        Entry {
            time,
            request_id: "r",
            key: "k",
            user: None,
            account: "a",
            action: "mq:X",
            instance: None,
            target,
            outcome: "allowed",
            peer: None,
        }
    }

    #[test]
    fn files_are_bounded_and_questions_drive_no_change_out() {
        let dir = tempfile::TempDir::new().unwrap();
        let audit = Audit::open(Some(dir.path()), true).unwrap();
        audit.change(&entry("changed")).unwrap();
        let long = "x".repeat(1 << 20);
        for _ in 0..500 {
            audit.query(&entry(&long));
        }
        let size = |name: &str| std::fs::metadata(dir.path().join(name)).map_or(0, |found| found.len());
        for older in 1..=OLDER_MAX {
            let size = size(&format!("audit-queries.{older}.ndjson"));
            assert!(size <= FILE_MAX_BYTES && size > FILE_MAX_BYTES / 2, "{size}");
        }
        assert_eq!(size(&format!("audit-queries.{}.ndjson", OLDER_MAX + 1)), 0);
        drop(audit);
        let audit = Audit::open(Some(dir.path()), false).unwrap();
        audit.query(&entry("not written"));
        audit.change(&entry("changed again")).unwrap();
        let changes = std::fs::read_to_string(dir.path().join("audit-changes.ndjson")).unwrap();
        let targets: Vec<serde_json::Value> = changes.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((targets.len(), &targets[1]["target"]), (2, &"changed again".into()));
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.path().join("audit-changes.ndjson")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
