//! Holding all files of a store against all that must be true of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tracemq_model::{InstanceId, TimeMs};
use tracemq_store::StoreError;

use super::read_only::ReadOnlyFs;
use super::{manifest, steady};
use crate::carried::{self, Carried};
use crate::fs::{Fs, read_exact_at};
use crate::manifest::Manifest;
use crate::segment::{Segment, SegmentId};
use crate::store::{Damage, Looked, refusal};
use crate::wal;

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Segments that were read in full.
    pub segments: usize,
    /// Files of the log.
    pub log_files: usize,
    /// Events that can be asked for, in segments and in the log.
    pub events: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether anything is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind == FindingKind::Damage)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Something is not what was written.
    Damage,
    /// A write that is not finished: normal beside a running server, and after a kill; nothing of it counted as recorded.
    Unfinished,
    /// A file of the store that nothing names: it is being written, is about to be deleted, or was left by a crash. The next
    /// start removes it.
    Leftover,
    /// Not a file of this store. It is left alone.
    Stranger,
}

/// Something worth knowing about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub kind: FindingKind,
    /// The file.
    pub path: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How many bytes; 0 when that can't be said, or the file is missing.
    pub length: u64,
    /// What is wrong.
    pub what: String,
    /// What it means for answers; none when it means nothing.
    pub lost: Option<Lost>,
}

/// What answers leave out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Whose events they may be; empty when that is not known.
    pub instances: Vec<InstanceId>,
    /// From when; none when that is not known.
    pub from: Option<TimeMs>,
    /// Until when; none when that is not known.
    pub to: Option<TimeMs>,
    /// How many at most; none when that is not known.
    pub events_at_most: Option<u64>,
    /// Whether only counts over time are wrong or missing, and each event can be read by itself.
    pub only_counts: bool,
}

/// Reads all files of the store in `dir`, which may be in use, and lists what is wrong. Changes nothing. `progress` is told how
/// many bytes were read, and of how many.
///
/// # Errors
/// [`StoreError::Io`] when there is no store in `dir`, or the operating system refuses to read;
/// [`StoreError::UnknownFormat`] when a later version wrote it.
pub fn check(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, StoreError> {
    match manifest(dir) {
        Err(StoreError::Damaged { path, offset, length, what }) => {
            without_manifest(dir, Damage { path, offset, length, what }, progress)
        }
        Err(error) => Err(error),
        Ok(_) => with_manifest(dir, progress),
    }
}

fn with_manifest(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, StoreError> {
    // The log is read before it is known what else there is to read.
    progress(0, bytes_in(dir)?);
    let looked = steady(dir, false)?;
    let mut report = Report::new(progress);
    report.found.findings = findings_of(&looked);
    report.older_manifest(dir, &looked)?;
    report.carried(dir, &looked.manifest)?;
    let log_bytes = looked.log.files.iter().map(|(_, bytes)| *bytes).sum();
    let segments = &looked.view.segments;
    report.total = log_bytes + segments.iter().map(|segment| segment.meta().bytes).sum::<u64>();
    report.read(log_bytes);
    for segment in segments {
        report.verify(segment);
    }
    report.found.log_files = looked.log.files.len();
    report.found.events += looked.log.events;
    report.other_files(dir, &looked)?;
    Ok(report.found)
}

/// How long the files of log and segments are, live or not.
fn bytes_in(dir: &Path) -> Result<u64, StoreError> {
    let is_read = |name: &&String| number(name, "segment").or_else(|| number(name, "wal")).is_some();
    let names = list(dir)?;
    Ok(names.iter().filter(is_read).filter_map(|name| Some(dir.join(name).metadata().ok()?.len())).sum())
}

/// With a damaged manifest it is not known which files are live: each is read by itself.
fn without_manifest(dir: &Path, damage: Damage, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, StoreError> {
    let mut report = Report::new(progress);
    let lost = Lost { instances: Vec::new(), from: None, to: None, events_at_most: None, only_counts: false };
    let what = format!("{} (the store can't be opened without it)", damage.what);
    let Damage { path, offset, length, .. } = damage;
    report.found.findings.push(Finding { kind: FindingKind::Damage, path, offset, length, what, lost: Some(lost) });
    let names = list(dir)?;
    let segments: Vec<(u64, PathBuf)> =
        names.iter().filter_map(|name| Some((number(name, "segment")?, dir.join(name)))).collect();
    let previous = Manifest::load_previous(&ReadOnlyFs, dir).ok().flatten().map(|previous| previous.store);
    let Some(store) = previous.or_else(|| segments.iter().find_map(|(_, path)| store_of(path))) else {
        return Ok(report.found);
    };
    let mut opened = Vec::new();
    for (number, path) in segments {
        match Segment::open(&ReadOnlyFs, &path, SegmentId { store, number }) {
            Ok(segment) => opened.push(segment),
            Err(StoreError::Damaged { path, offset, length, what }) => {
                let damage = Damage { path, offset, length, what };
                report.found.findings.push(Finding::of(damage, None));
            }
            Err(error) => return Err(error),
        }
    }
    report.total = opened.iter().map(|segment| segment.meta().bytes).sum();
    for segment in &opened {
        report.verify(segment);
    }
    let first = names.iter().filter_map(|name| number(name, "wal")).min();
    if let Some(first) = first {
        let log = wal::replay(&ReadOnlyFs, dir, store, first, wal::Mode::Look, &mut |_, _| {})?;
        report.found.log_files = log.files.len();
        report.found.events += log.events;
        for wal::Damage { path, offset, length, what, after, before } in log.damaged {
            let lost =
                Lost { instances: Vec::new(), from: after, to: before, events_at_most: None, only_counts: false };
            report.found.findings.push(Finding::of(Damage { path, offset, length, what }, Some(lost)));
        }
    }
    Ok(report.found)
}

/// What was found at the opening.
pub(super) fn findings_of(looked: &Looked) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (damage, gap) in &looked.damaged {
        let lost = Lost {
            instances: Vec::new(),
            from: Some(gap.from).filter(|from| *from != TimeMs::MIN),
            to: Some(gap.to).filter(|to| *to != TimeMs::MAX),
            events_at_most: gap.lost,
            only_counts: false,
        };
        findings.push(Finding::of(damage.clone(), Some(lost)));
    }
    if let Some(cut) = &looked.log.cut {
        findings.push(Finding {
            kind: FindingKind::Unfinished,
            path: cut.path.clone(),
            offset: cut.offset,
            length: cut.bytes,
            what: "a write at the end of the log is not finished".into(),
            lost: None,
        });
    }
    findings
}

impl Finding {
    fn of(damage: Damage, lost: Option<Lost>) -> Self {
        let Damage { path, offset, length, what } = damage;
        Self { kind: FindingKind::Damage, path, offset, length, what: what.into(), lost }
    }

    fn file(kind: FindingKind, path: PathBuf, what: &str) -> Self {
        Self { kind, path, offset: 0, length: 0, what: what.into(), lost: None }
    }
}

/// A check under way.
struct Report<'a> {
    found: CheckReport,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Report<'a> {
    fn new(progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        let found = CheckReport { segments: 0, log_files: 0, events: 0, bytes: 0, findings: Vec::new() };
        Self { found, total: 0, progress }
    }

    fn read(&mut self, bytes: u64) {
        self.found.bytes += bytes;
        (self.progress)(self.found.bytes, self.total.max(self.found.bytes));
    }

    fn verify(&mut self, segment: &Segment) {
        let damages = segment.verify(&mut |bytes| self.read(bytes));
        for damage in damages {
            let affected = segment.affected(damage.offset, damage.length);
            let lost = Lost {
                instances: affected.instances,
                from: Some(affected.times.from),
                to: Some(affected.times.to),
                events_at_most: Some(affected.rows),
                only_counts: affected.only_counts,
            };
            self.found.findings.push(Finding {
                kind: FindingKind::Damage,
                path: segment.path().to_owned(),
                offset: damage.offset,
                length: damage.length,
                what: damage.what.into(),
                lost: Some(lost),
            });
        }
        self.found.segments += 1;
        self.found.events += segment.meta().rows;
    }

    /// A manifest with which the store can't be opened, since it is not the last one.
    fn older_manifest(&mut self, dir: &Path, looked: &Looked) -> Result<(), StoreError> {
        if !looked.is_incomplete {
            return Ok(()); // then it is the last one, or as good
        }
        let fs: Arc<dyn Fs> = Arc::new(ReadOnlyFs);
        let Some(damage) = refusal(&fs, dir, &looked.manifest)? else { return Ok(()) };
        // Beside a server that runs files come and go with each manifest.
        if self::manifest(dir)?.generation == looked.manifest.generation {
            self.found.findings.push(Finding::of(damage, None));
        }
        Ok(())
    }

    /// The file of open connections.
    fn carried(&mut self, dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
        let Some(number) = manifest.orphans else { return Ok(()) };
        let path = Carried::path(dir, number);
        let (bytes, unread) = carried::verify(&ReadOnlyFs, dir, manifest.store, number)?;
        self.read(bytes);
        // A server that runs may have written another one meanwhile.
        let Some(unread) = unread else { return Ok(()) };
        if self::manifest(dir)?.orphans != Some(number) {
            return Ok(());
        }
        let kind = FindingKind::Damage;
        let what =
            "the list of open connections can't be read: after a kill, connections that it names stay open on record";
        let (offset, length) = (unread.offset, unread.length);
        self.found.findings.push(Finding { kind, path, offset, length, what: what.into(), lost: None });
        Ok(())
    }

    /// Names the files that are not live.
    fn other_files(&mut self, dir: &Path, looked: &Looked) -> Result<(), StoreError> {
        // What came into being since is not looked at.
        let now = manifest(dir)?;
        let live = |name: &str| {
            let is_named = |manifest: &Manifest| match (number(name, "segment"), number(name, "open")) {
                (Some(number), _) => manifest.segments.iter().any(|entry| entry.number == number),
                (_, Some(number)) => manifest.orphans == Some(number),
                (None, None) => false,
            };
            is_named(&looked.manifest) || is_named(&now)
        };
        for name in list(dir)? {
            let path = dir.join(&name);
            if matches!(&*name, "manifest" | "manifest.old" | "lock" | "alive" | "reserve") || live(&name) {
                continue;
            }
            let finding = if name.ends_with(".aside") || name.contains(".before-repair-") {
                Finding::file(FindingKind::Stranger, path, "a repair has put it aside")
            } else if name == "manifest.new" {
                Finding::file(FindingKind::Leftover, path, "a manifest that was not finished, or is just being written")
            } else if number(&name, "open").is_some() || looked.orphaned.contains(&path) {
                Finding::file(FindingKind::Leftover, path, "in no manifest: just being written, or left by a crash")
            } else if let Some(number) = number(&name, "wal") {
                if number >= looked.manifest.first_wal {
                    continue; // read, or made since
                }
                if !looked.log.stale.contains(&number) {
                    Finding::file(FindingKind::Stranger, path, "not a file of this store")
                } else {
                    Finding::file(FindingKind::Leftover, path, "a part of the log that stands in segments by now")
                }
            } else if number(&name, "segment").is_some_and(|number| number >= looked.manifest.next_file) {
                continue; // made since
            } else {
                Finding::file(FindingKind::Stranger, path, "not a file of this store")
            };
            self.found.findings.push(finding);
        }
        Ok(())
    }
}

fn list(dir: &Path) -> Result<BTreeSet<String>, StoreError> {
    let names =
        ReadOnlyFs.list(dir).map_err(|source| StoreError::Io { operation: "list", path: dir.to_owned(), source })?;
    Ok(names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
}

/// The number of the file called `name`, when it is of that kind.
fn number(name: &str, kind: &str) -> Option<u64> {
    let (number, found) = name.split_once('.')?;
    let is_ours = found == kind && number.len() >= 10 && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_ours { number.parse().ok() } else { None }
}

/// The store that the segment at `path` says it belongs to.
fn store_of(path: &Path) -> Option<[u8; 16]> {
    let mut begin = [0; 28];
    let file = ReadOnlyFs.open_to_read(path).ok()?;
    read_exact_at(&*file, &mut begin, 0).ok()?;
    begin.get(12..28)?.first_chunk().copied()
}
