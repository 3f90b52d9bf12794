//! S6, S14, S24, S30 to S36: a store whose files are not what was written. It opens or says why not, shows nothing that was not
//! there, and tells what is missing.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracemq_model::{Gap, GapCause, TimeMs, TimeRange};
use tracemq_store::{Batch, EventStore, StoreError};

use super::world::World;
use crate::fs::simulated::{Dice, SimulatedFs};
use crate::fs::{Fs, LogFile};
use crate::manifest::Manifest;
use crate::wal;

/// Opens `disk`, looks at everything, and goes on. None when it was refused; else how much is missing.
pub(super) fn live_with(world: &mut World, disk: SimulatedFs, context: &str) -> Option<usize> {
    let acknowledged = world.acknowledged.clone();
    world.close();
    world.disk = disk;
    let before = world.disk.contents();
    let missing = match world.open() {
        Ok(_) => {
            let missing = world.check_left(context);
            // With all on record, it is known what was left open, also where the list of that is damaged.
            if missing == 0 {
                world.check_orphans(context);
            }
            missing
        }
        Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => {
            assert_eq!(world.disk.contents(), before, "{context}: refused, and changed");
            return None;
        }
        Err(error) => panic!("{context}: {error}"),
    };
    // It takes what comes, and keeps it.
    let batch = world.ordered_batch(&mut Dice(5));
    world.append(batch).unwrap();
    world.store().settle(&mut |_| {}).unwrap();
    world.open().unwrap();
    assert!(world.check_left(context) <= missing, "{context}: more is missing later");
    world.acknowledged = acknowledged;
    Some(missing)
}

/// Each bit of it, and its length: the connections that were open are found all the same, and it is told.
#[test]
fn s24_the_list_of_open_connections_is_made_anew_when_it_is_damaged() {
    let mut world = World::small();
    let disk = world.disk.copy();
    let [path] = of_kind(&disk, "open").try_into().unwrap();
    let whole = disk.content(&path);
    world.open().unwrap();
    let expected = world.orphans();
    assert!(expected.len() > 1);
    let mut contents: Vec<Option<Vec<u8>>> = vec![None, Some(Vec::new()), Some([&whole[..], &[0]].concat())];
    for bit in 0..whole.len() * 8 {
        let mut content = whole.clone();
        content[bit / 8] ^= 1 << (bit % 8);
        contents.push(Some(content));
    }
    for (at, content) in contents.into_iter().enumerate() {
        world.close();
        world.disk = disk.copy();
        match content {
            Some(content) => world.disk.put(&path, content),
            None => world.disk.remove(&path).unwrap(),
        }
        let recovery = world.open().unwrap();
        assert!(recovery.damaged.iter().any(|damage| damage.path == path), "{at}");
        let mut found = world.orphans();
        found.sort_by_key(|event| expected.iter().position(|known| known == event));
        assert_eq!(found, expected, "{at}");
        assert_eq!(world.open().unwrap().damaged, [], "{at}: it is whole again");
        assert_eq!(world.orphans().len(), expected.len(), "{at}");
    }
    // A segment that can't be opened either may hold their ends: nothing is concluded, and that is told.
    world.close();
    world.disk = disk.copy();
    world.disk.put(&path, Vec::new());
    let segment = of_kind(&disk, "segment").remove(0);
    world.disk.put(&segment, Vec::new());
    let recovery = world.open().unwrap();
    assert!(recovery.damaged.len() == 2 && world.orphans().len() < expected.len(), "{recovery:?}");
    let instant = |gap: &&Gap| gap.from == gap.to && gap.lost.is_none() && gap.cause == GapCause::Damaged;
    let told = |world: &World| world.store().gaps(TimeRange::ALL).unwrap().iter().filter(instant).count();
    assert_eq!(told(&world), 1);
    // It is told once, however many starts there are.
    for _ in 0..3 {
        world.store().mark_alive(TimeMs(world.acknowledged.last().unwrap().time.0 + 5_000)).unwrap();
        let recovery = world.open().unwrap();
        assert!(recovery.damaged.iter().all(|damage| damage.path == segment), "{recovery:?}");
        assert_eq!(told(&world), 1);
    }
}

fn kind(path: &Path) -> &str {
    path.extension().map_or("manifest", |kind| kind.to_str().unwrap())
}

#[test]
fn s24_s30_no_flipped_bit_of_any_file_shows_a_wrong_event() {
    let mut world = World::small();
    let disk = world.disk.copy();
    let (mut tried, mut refused) = (0, 0);
    for path in disk.paths() {
        let bits = disk.content(&path).len() * 8;
        for bit in (0..bits).step_by((bits / 150).max(1) | 1) {
            let broken = disk.copy();
            broken.change(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let context = format!("bit {bit} of {}", path.display());
            tried += 1;
            if live_with(&mut world, broken, &context).is_none() {
                // Only what can't be done without.
                refused += 1;
                assert!(kind(&path) == "manifest", "{context}: refused");
            }
        }
    }
    assert!(tried > 700 && refused > 50, "{tried}, {refused}");
}

#[test]
fn s6_s31_a_file_that_is_cut_longer_empty_or_gone_is_named_and_the_others_are_served() {
    let mut world = World::small();
    let disk = world.disk.copy();
    let mut cut_between_records = 0;
    for path in disk.paths() {
        let whole = disk.content(&path);
        let mut contents: Vec<Vec<u8>> =
            (0..whole.len()).step_by(whole.len().div_ceil(40)).map(|length| whole[..length].to_vec()).collect();
        contents.push([&whole, &[7; 100][..]].concat());
        contents.push([&whole, &whole[..]].concat());
        for content in contents {
            let broken = disk.copy();
            let context = format!("{} with {} of {} bytes", path.display(), content.len(), whole.len());
            broken.change(&path, |bytes| *bytes = content);
            if kind(&path) == "wal" && is_whole(&world, &broken) {
                // Cut between two records of the last file, by somebody: nothing tells it from a log that was never longer.
                cut_between_records += 1;
                continue;
            }
            let served = live_with(&mut world, broken, &context);
            assert!(served.is_some() || kind(&path) == "manifest", "{context}: refused");
            assert!(served.is_none_or(|missing| missing < world.acknowledged.len()), "{context}: nothing is served");
        }
        let broken = disk.copy();
        broken.remove(&path).unwrap();
        let served = live_with(&mut world, broken, &format!("{} is gone", path.display()));
        assert!(served.is_some() || kind(&path) == "manifest");
        if kind(&path) == "segment" {
            assert!(served.unwrap() > 0);
        }
    }
    assert!(cut_between_records <= 3, "{cut_between_records}");
}

/// Whether the log holds whole records and nothing else.
fn is_whole(world: &World, disk: &SimulatedFs) -> bool {
    let manifest = Manifest::load(disk, &world.dir()).unwrap().unwrap();
    let found = wal::replay(disk, &world.dir(), manifest.store, manifest.first_wal, wal::Mode::Look, &mut |_, _| {});
    found.is_ok_and(|found| found.damaged.is_empty() && found.cut.is_none() && found.unborn.is_none())
}

fn of_kind(disk: &SimulatedFs, wanted: &str) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| kind(path) == wanted).collect()
}

#[test]
fn s14_s32_files_in_each_others_place_are_refused() {
    let mut world = World::small();
    let disk = world.disk.copy();
    let segments = of_kind(&disk, "segment");
    assert!(segments.len() >= 3);
    for (one, other) in segments.iter().zip(&segments[1..]) {
        let broken = disk.copy();
        broken.put(one, disk.content(other));
        broken.put(other, disk.content(one));
        assert!(live_with(&mut world, broken, "swapped").unwrap() > 0);
        let broken = disk.copy();
        broken.put(one, disk.content(other));
        assert!(live_with(&mut world, broken, "a copy in its place").unwrap() > 0);
    }
    // Under a name that nobody uses: nothing is there twice, and nothing is missing.
    let broken = disk.copy();
    broken.put(&world.dir().join("0000000999.segment"), disk.content(&segments[0]));
    assert_eq!(live_with(&mut world, broken, "a copy under another name"), Some(0));
    // A segment of the same store and the same number, and other content.
    let mut twin = World::small();
    let manifest = world.dir().join("manifest");
    let broken = disk.copy();
    broken.put(&segments[0], twin.disk.content(&twin.dir().join(segments[0].file_name().unwrap())));
    assert!(live_with(&mut world, broken, "another store's").unwrap() > 0);
    twin.close();
    assert!(disk.paths().contains(&manifest));
}

/// What was there last week is put back, a file at a time and the manifest alone.
#[test]
fn s32_s33_what_is_put_back_from_earlier_is_found_out() {
    let mut world = World::small();
    let earlier = world.disk.copy();
    world.open().unwrap();
    let mut dice = Dice(8);
    for _ in 0..6 {
        let batch = world.ordered_batch(&mut dice);
        world.append(batch).unwrap();
        world.store().settle(&mut |_| {}).unwrap();
    }
    world.close();
    let disk = world.disk.copy();
    for path in earlier.paths() {
        let broken = disk.copy();
        let existed = disk.paths().contains(&path);
        broken.put(&path, earlier.content(&path));
        let context = format!("{} of before", path.display());
        let left = live_with(&mut world, broken.copy(), &context);
        if path.ends_with("manifest") {
            assert_eq!(left, None, "an older manifest beside newer segments is refused, and nothing is deleted");
            world.disk = broken;
            assert!(matches!(world.open(), Err(StoreError::Damaged { path: named, .. }) if named == path));
            assert_eq!(of_kind(&world.disk, "segment"), of_kind(&disk, "segment"));
            // With the last one in its place again all is there.
            world.disk.put(&path, disk.content(&path));
            world.open().unwrap();
            world.check("the last manifest put back");
            world.close();
        } else if !existed {
            assert_eq!(left, Some(0), "{context}: left over, and shown to nobody");
        }
    }
}

#[test]
fn s33_a_manifest_of_another_store_shows_nothing_wrong_and_deletes_nothing() {
    let (mut world, mut other) = (World::small(), World::small());
    let broken = world.disk.copy();
    broken.put(&world.dir().join("manifest"), other.disk.content(&other.dir().join("manifest")));
    let segments = of_kind(&broken, "segment");
    let contents: Vec<Vec<u8>> = segments.iter().map(|path| broken.content(path)).collect();
    world.disk = broken;
    let recovery = world.open().unwrap();
    assert!(recovery.damaged.len() >= segments.len() && recovery.events == 0, "{recovery:?}");
    assert_eq!(world.check_left("another store's manifest"), world.acknowledged.len());
    for (path, content) in segments.iter().zip(contents) {
        assert_eq!(world.disk.content(path), content);
    }
    other.close();
}

#[test]
fn s34_files_of_others_are_left_alone() {
    let mut world = World::small();
    let names = [
        "notes.txt",
        "lost+found",
        "0000000001.segment~",
        "0000000001.segment.bak",
        "0000000900.segment.new",
        "manifest.txt",
        "manifest~",
        "1.segment",
        "x.open",
        "events-0000000001.log",
        "0000000901.segment",
        "0000000902.open",
        "0000000903.wal",
    ];
    let content = b"somebody else's, and longer than any header is: nobody should take this away";
    for name in names {
        world.disk.put(&world.dir().join(name), content.to_vec());
    }
    world.open().unwrap();
    let batch = world.ordered_batch(&mut Dice(1));
    world.append(batch).unwrap();
    world.store().settle(&mut |_| {}).unwrap();
    world.open().unwrap();
    // A log file of others is named as damage, for it may be one of the store's.
    world.check_left("beside files of others");
    for name in names {
        assert_eq!(world.disk.content(&world.dir().join(name)), content, "{name}");
    }
}

/// A name with the largest of numbers must not make the store begin anew at the smallest.
#[test]
fn s34_s51_a_file_with_the_last_number_is_refused_and_left() {
    for (number, is_refused) in [(u64::MAX, true), (u64::MAX - 1, true), (1 << 40, false)] {
        let mut world = World::small();
        let path = world.dir().join(format!("{number:010}.segment"));
        world.disk.put(&path, vec![9; 100]);
        let disk = world.disk.copy();
        assert_eq!(live_with(&mut world, disk, "a large number").is_none(), is_refused);
        assert_eq!(world.disk.content(&path), vec![9; 100]);
    }
}

/// On a real disk: sub-directories, links, and links that lead nowhere.
#[test]
fn s34_folders_and_links_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::write(&elsewhere, [3; 200]).unwrap();
    let store_dir = dir.path().join("store");
    let open = || crate::Segments::open(&store_dir, crate::SegmentSettings::default()).unwrap();
    drop(open());
    std::fs::create_dir(store_dir.join("lost+found")).unwrap();
    std::fs::create_dir(store_dir.join("0000000900.segment")).unwrap();
    std::fs::create_dir(store_dir.join("0000000904.wal")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, store_dir.join("0000000901.segment")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("nowhere"), store_dir.join("0000000902.segment")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, store_dir.join("0000000903.open")).unwrap();
    for _ in 0..2 {
        let (store, recovery) = open();
        assert_eq!(recovery.damaged, []);
        store.settle(&mut |_| {}).unwrap();
    }
    let names = ["lost+found", "0000000900.segment", "0000000901.segment", "0000000902.segment", "0000000903.open"];
    assert!(names.iter().chain(&["0000000904.wal"]).all(|name| store_dir.join(name).symlink_metadata().is_ok()));
    assert_eq!(std::fs::read(&elsewhere).unwrap(), [3; 200]);
}

/// A folder in the place of a file: of a segment it is as if that were missing, of the log's next file there is nothing to go on with.
#[test]
fn s34_a_folder_in_the_place_of_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let open = || crate::Segments::open(dir.path(), crate::SegmentSettings::default());
    let (mut world, mut dice) = (World::new(), Dice(3));
    let (store, _) = open().unwrap();
    for _ in 0..3 {
        let events = world.batch(&mut dice);
        store.append(&Batch { events, gaps: Vec::new() }).unwrap();
        store.settle(&mut |_| {}).unwrap();
    }
    drop(store);
    let manifest = Manifest::load(&crate::fs::RealFs, dir.path()).unwrap().unwrap();
    let log = wal::path(dir.path(), manifest.first_wal + 1);
    std::fs::create_dir(&log).unwrap();
    let refused = open().err().unwrap();
    assert!(matches!(&refused, StoreError::Io { path, .. } if *path == log), "{refused}");
    assert!(refused.to_string().contains("move it away"), "{refused}");
    std::fs::remove_dir(&log).unwrap();
    let segment = dir.path().join(format!("{:010}.segment", manifest.segments[0].number));
    let beside = dir.path().join("kept");
    for kind in ["segment", "open"] {
        let path = match kind {
            "segment" => segment.clone(),
            _ => crate::carried::Carried::path(dir.path(), manifest.orphans.unwrap()),
        };
        std::fs::rename(&path, &beside).unwrap();
        std::fs::create_dir(&path).unwrap();
        let (store, recovery) = open().unwrap();
        assert!(recovery.damaged.iter().any(|damage| damage.path == path), "{recovery:?}");
        assert!(path.is_dir());
        drop(store);
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&beside, &path).unwrap();
    }
}

/// A folder that is listed in any order, with names twice, and with one that vanishes.
struct Listing(SimulatedFs);

impl Fs for Listing {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = self.0.list(dir)?;
        names.extend(names.clone());
        names.extend(
            ["0000000000.segment", "0000009999.segment", "0000009999.wal", "0000009999.open"].map(OsString::from),
        );
        let mut dice = Dice(names.len() as u64);
        for at in (1..names.len()).rev() {
            names.swap(at, dice.roll(at + 1));
        }
        Ok(names)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        self.0.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        self.0.open(path)
    }
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        self.0.open_to_read(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
}

#[test]
fn s35_the_manifest_decides_and_not_the_listing() {
    let mut world = World::small();
    world.between = |disk| Arc::new(Listing(disk));
    for round in 0..4 {
        assert_eq!(world.open().unwrap().damaged, []);
        world.check(&format!("round {round}"));
        world.check_orphans(&format!("round {round}"));
        let batch = world.ordered_batch(&mut Dice(round));
        world.append(batch).unwrap();
        world.store().settle(&mut |_| {}).unwrap();
    }
    assert!(world.acknowledged.iter().all(|event| event.time > TimeMs(0)));
}
