//! What lies in the folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_store::StoreError;

use crate::fs::{Fs, read_exact_at};
use crate::manifest::{MISSING, Manifest};
use crate::segment::{Segment, SegmentId};
use crate::store::Damage;
use crate::wal::{self, StoreId};

/// The number of the operating system's error for what a disk can't read: EIO.
const UNREADABLE: i32 = 5;

/// How files of the three kinds begin: then come four bytes of version, and the store's id.
const KINDS: [(&str, &[u8; 8]); 3] = [("segment", b"TMQSEGM\n"), ("wal", b"TRACEMQW"), ("open", b"TMQOPEN\n")];

/// A log file that is no longer holds no record.
const LOG_HEADER_BYTES: u64 = 48;

/// The files of a store, and what its manifests say.
pub(super) struct Found {
    pub(super) store: StoreId,
    /// What stands in `manifest`, or why it can't be used.
    pub(super) manifest: Result<Manifest, Damage>,
    /// The newest manifest of this store that can be read.
    pub(super) base: Option<(Manifest, PathBuf)>,
    /// The largest generation of any.
    pub(super) generation: u64,
    /// Segments that can be opened.
    pub(super) whole: Vec<Arc<Segment>>,
    pub(super) broken: Vec<Broken>,
    /// Files of the log, and lists of open connections, by number.
    pub(super) logs: Vec<u64>,
    pub(super) opens: Vec<u64>,
    /// A number that no file has.
    pub(super) next_file: u64,
}

/// A segment that can't be opened.
pub(super) struct Broken {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) what: &'static str,
}

struct Named {
    number: u64,
    path: PathBuf,
    kind: &'static str,
    length: u64,
    /// The store that it says it is of; none when it begins otherwise.
    store: Option<StoreId>,
    /// Whether that can be relied on: the checksum of a log's header is right. Other files have theirs seen to when they are opened.
    is_vouched_for: bool,
    is_blank: bool,
}

/// Whether there is anything in `dir` that a store leaves.
pub(super) fn is_store(fs: &dyn Fs, dir: &Path) -> bool {
    let names = fs.list(dir).unwrap_or_default();
    names.iter().filter_map(|name| name.to_str()).any(|name| {
        matches!(name, "manifest" | "manifest.old") || KINDS.iter().any(|(kind, _)| number(name, kind).is_some())
    })
}

/// Whether `dir` holds segments, or a log with records: with no manifest it is no new store then.
pub(crate) fn has_rows(fs: &dyn Fs, dir: &Path) -> Result<bool, StoreError> {
    let listed = fs.list(dir);
    let names = listed.map_err(|source| StoreError::Io { operation: "list", path: dir.to_owned(), source })?;
    Ok(names.iter().filter_map(|name| name.to_str()).any(|name| {
        name.ends_with(".segment")
            || (number(name, "wal").is_some()
                && fs.open_to_read(&dir.join(name)).and_then(|file| file.length()).is_ok_and(|l| l > LOG_HEADER_BYTES))
    }))
}

/// The number of the file called `name`, when it is of that kind: there is one way to write it.
fn number(name: &str, kind: &str) -> Option<u64> {
    let number = name.strip_suffix(kind)?.strip_suffix('.')?.parse().ok()?;
    (format!("{number:010}.{kind}") == name).then_some(number)
}

impl Found {
    pub(super) fn look(fs: &dyn Fs, dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("manifest");
        let present = usable(Manifest::load(fs, dir))?;
        let previous = usable(Manifest::load_previous(fs, dir))?.ok().flatten();
        let named = names(fs, dir)?;
        let store = store_of(&named, present.as_ref().ok().and_then(Option::as_ref), previous.as_ref());
        let missing = |what| Damage { path: path.clone(), offset: 0, length: 0, what };
        let manifest = match present {
            Ok(Some(manifest)) if store.is_some_and(|store| store != manifest.store) => {
                Err(missing("it is another store's"))
            }
            Ok(Some(manifest)) => Ok(manifest),
            Ok(None) => Err(missing(MISSING)),
            Err(damage) => Err(damage),
        };
        let Some(store) = store else {
            let what = "there is no segment, no log and no other manifest to make one from";
            return Err(StoreError::Damaged { path, offset: 0, length: 0, what });
        };
        let generation = manifest.iter().chain(&previous).map(|manifest| manifest.generation).max().unwrap_or(0);
        let readable = manifest.iter().map(|manifest| (manifest, path.clone()));
        let readable = readable.chain(previous.iter().map(|manifest| (manifest, dir.join("manifest.old"))));
        let of_store = readable.filter(|(manifest, _)| manifest.store == store);
        let base = of_store.max_by_key(|(manifest, _)| manifest.generation).map(|(base, path)| (base.clone(), path));
        let next_file = base.as_ref().map_or(1, |(base, _)| base.next_file);
        let (whole, broken, logs, opens) = Default::default();
        let mut found = Self { store, manifest, base, generation, whole, broken, logs, opens, next_file };
        for file in named {
            found.take(fs, file)?;
        }
        found.next_file = found.next_file.max(highest_aside(fs, dir)?.saturating_add(1));
        Ok(found)
    }

    fn take(&mut self, fs: &dyn Fs, file: Named) -> Result<(), StoreError> {
        let Named { number, path, kind, length, store, is_vouched_for, is_blank } = file;
        // What never got as far as its header may be anybody's, and may be ours.
        let is_ours = store == Some(self.store) || (store.is_none() && (length < 28 || is_blank));
        if kind != "wal" {
            self.next_file = self.next_file.max(number.saturating_add(1));
        }
        match kind {
            // A file of the log whose header is damaged is named as damage by whoever replays it.
            "wal" if !is_vouched_for || store == Some(self.store) => self.logs.push(number),
            "open" if is_ours => self.opens.push(number),
            "segment" => match Segment::open(fs, &path, SegmentId { store: self.store, number }) {
                Ok(segment) => self.whole.push(Arc::new(segment)),
                Err(StoreError::Damaged { what, .. }) if is_ours || self.is_in_base(number) => {
                    self.broken.push(Broken { number, path, what });
                }
                Err(StoreError::Io { source, .. }) if source.raw_os_error() == Some(UNREADABLE) => {
                    self.broken.push(Broken { number, path, what: "the disk can't read it" });
                }
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            },
            _ => {}
        }
        Ok(())
    }

    pub(super) fn is_in_base(&self, number: u64) -> bool {
        self.base.as_ref().is_some_and(|(base, _)| base.segments.iter().any(|entry| entry.number == number))
    }

    pub(super) fn broken_paths(&self, is_named: impl Fn(u64) -> bool) -> Vec<PathBuf> {
        self.broken.iter().filter(|broken| is_named(broken.number)).map(|broken| broken.path.clone()).collect()
    }
}

/// A manifest that is damaged is something to be told; other errors end the repair.
fn usable(loaded: Result<Option<Manifest>, StoreError>) -> Result<Result<Option<Manifest>, Damage>, StoreError> {
    match loaded {
        Ok(manifest) => Ok(Ok(manifest)),
        Err(StoreError::Damaged { path, offset, length, what }) => Ok(Err(Damage { path, offset, length, what })),
        Err(StoreError::Io { path, source, .. }) if source.raw_os_error() == Some(UNREADABLE) => {
            Ok(Err(Damage { path, offset: 0, length: 0, what: "the disk can't read it" }))
        }
        Err(error) => Err(error),
    }
}

fn names(fs: &dyn Fs, dir: &Path) -> Result<Vec<Named>, StoreError> {
    let listed = fs.list(dir);
    let mut names = listed.map_err(|source| StoreError::Io { operation: "list", path: dir.to_owned(), source })?;
    // A listing may name a file twice.
    names.sort_unstable();
    names.dedup();
    let mut found = Vec::new();
    for name in names.iter().filter_map(|name| name.to_str()) {
        for (kind, magic) in KINDS {
            let Some(number) = number(name, kind) else { continue };
            let path = dir.join(name);
            let Ok(file) = fs.open_to_read(&path) else { continue };
            let Ok(length) = file.length() else { continue };
            let mut begin = [0; 28];
            let is_read = read_exact_at(&*file, &mut begin, 0).is_ok();
            let is_ours = is_read && begin.starts_with(magic);
            let store = begin.last_chunk().copied().filter(|_| is_ours);
            let is_vouched_for = kind != "wal" || {
                let mut header = [0; 48];
                read_exact_at(&*file, &mut header, 0).is_ok() && wal::is_whole_header(&header)
            };
            found.push(Named { number, path, kind, length, store, is_vouched_for, is_blank: begin == [0; 28] });
        }
    }
    Ok(found)
}

/// The store that most files are of; of two the one that a manifest is of.
fn store_of(named: &[Named], present: Option<&Manifest>, previous: Option<&Manifest>) -> Option<StoreId> {
    let mut files: BTreeMap<StoreId, usize> = BTreeMap::new();
    for file in named {
        if let Some(store) = file.store {
            *files.entry(store).or_default() += if file.is_vouched_for { 2 } else { 0 };
        }
    }
    for manifest in present.into_iter().chain(previous) {
        *files.entry(manifest.store).or_default() += 1;
    }
    files.into_iter().max_by_key(|(_, files)| *files).map(|(store, _)| store)
}

/// The largest number of a file that an earlier repair has put aside: it is not given again.
fn highest_aside(fs: &dyn Fs, dir: &Path) -> Result<u64, StoreError> {
    let listed = fs.list(dir);
    let names = listed.map_err(|source| StoreError::Io { operation: "list", path: dir.to_owned(), source })?;
    let numbers = names.iter().filter_map(|name| {
        let name = name.to_str()?.strip_suffix(".aside")?;
        number(name, "segment").or_else(|| number(name, "open"))
    });
    Ok(numbers.max().unwrap_or(0))
}
