use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use tracemq_broker::{
    Change, Keeper, Kept, KeptEntry, KeptMessage, KeptOwed, KeptSession, KeptStage, KeptSubscription, KeptWill, Mark,
};

use tracemq_model::MessageId;

use crate::database::Database;
use crate::{Keep, KeepError, KeepSettings};

fn session(client: &str) -> KeptSession {
    let filter = "a/#".to_owned();
    let subscriptions = vec![KeptSubscription { filter, qos: 1, no_local: false, retain_as_published: true, id: None }];
    KeptSession { client: client.to_owned(), username: None, expiry_s: 60, expires: Some(5), subscriptions }
}

fn message(payload: &str) -> Arc<KeptMessage> {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Arc::new(KeptMessage { topic: "a/b".into(), payload, qos: 1, ..Default::default() })
}

fn entry(message: u64, stage: KeptStage) -> KeptEntry {
    KeptEntry { message, qos: 1, retain: false, subscription_ids: Vec::new(), shared: None, stage }
}

struct Store(tempfile::TempDir);

impl Store {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> (Arc<Keep>, Kept) {
        Keep::open(&self.0.path().join("sessions"), KeepSettings::default()).unwrap()
    }

    /// Hands over each list with a call, waits until all is durable, and reads it anew.
    fn after(&self, calls: Vec<Vec<Change>>) -> Kept {
        let (keep, _) = self.open();
        for changes in calls {
            let mark = keep.keep(changes);
            wait_for(&keep, mark);
        }
        drop(keep);
        self.open().1
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken {
    times: AtomicUsize,
    thread: Mutex<Option<std::thread::Thread>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        if let Some(thread) = &*self.thread.lock().unwrap() {
            thread.unpark();
        }
    }
}

fn wait_for(keep: &Keep, mark: Mark) {
    let woken = Arc::new(Woken::default());
    *woken.thread.lock().unwrap() = Some(std::thread::current());
    keep.wake_at(mark, &Waker::from(Arc::clone(&woken)));
    let begun = Instant::now();
    while woken.times.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "not durable after a minute");
        std::thread::park_timeout(Duration::from_secs(1));
    }
    assert!(keep.kept() >= mark);
}

#[test]
fn a_will_is_kept_until_it_is_told_gone_also_without_its_session() {
    let store = Store::new();
    let will = |delay_s, due| {
        let message = KeptMessage { topic: "will".into(), payload: Bytes::from_static(b"dead"), ..Default::default() };
        KeptWill { session: 1, message, delay_s, due, keepsake: Some("who".into()), ..Default::default() }
    };
    let of = |number, will: KeptWill| Change::Will(number, Some(Box::new(will)));
    let kept = store.after(vec![
        vec![Change::Session(1, session("pump")), of(7, will(10, None)), of(8, will(20, None)), of(9, will(30, None))],
        vec![Change::Will(8, None), of(7, will(10, Some(5))), Change::SessionEnded(1)],
    ]);
    assert_eq!((kept.sessions.len(), kept.wills), (0, vec![(7, will(10, Some(5))), (9, will(30, None))]));
    let kept = store.after(vec![vec![Change::Will(7, None), Change::Will(9, None)]]);
    assert_eq!(kept, Kept::default());
}

#[test]
fn a_message_keeps_the_id_of_its_trace_as_long_as_it_is_kept() {
    let store = Store::new();
    let traced = |id| Arc::new(KeptMessage { trace: Some(MessageId(id)), ..KeptMessage::clone(&message("x")) });
    let retained = |topic: &str, number| Change::Retained(topic.into(), Some(number));
    let kept = store.after(vec![
        vec![Change::Message(9, traced(u128::MAX)), retained("a", 9)],
        vec![Change::Message(10, message("y")), retained("b", 10), Change::Message(11, traced(7)), retained("c", 11)],
        vec![Change::Retained("c".into(), None)],
    ]);
    assert_eq!(kept.messages, [(9, traced(u128::MAX)), (10, message("y"))]);
    // The number comes again, which it only does behind a version that knows of no ids.
    let kept = store.after(vec![
        vec![Change::Retained("a".into(), None)],
        vec![Change::Message(9, message("z")), retained("a", 9)],
    ]);
    assert_eq!(kept.messages, [(9, message("z")), (10, message("y"))]);
}

#[test]
fn what_was_kept_is_there_again() {
    let store = Store::new();
    let queued = entry(9, KeptStage::Queued);
    let sent = entry(9, KeptStage::Published(3));
    let owed = KeptOwed { after: Some("a/b".into()), upto: 8 };
    let kept = store.after(vec![vec![
        Change::Session(1, session("pump")),
        Change::Message(9, message("x")),
        Change::Entry(1, 2, queued.clone()),
        Change::Entry(1, 1, sent.clone()),
        Change::Received(1, 77),
        Change::Owed(1, "a/#".into(), Some(owed.clone())),
        Change::Owed(1, "b/#".into(), Some(owed.clone())),
        Change::Owed(1, "b/#".into(), None),
        Change::Message(10, message("kept")),
        Change::Retained("a/b".into(), Some(10)),
    ]]);
    let expected = Kept {
        sessions: vec![(1, session("pump"))],
        entries: vec![(1, 1, sent), (1, 2, queued)],
        received: vec![(1, 77)],
        owed: vec![(1, "a/#".into(), owed)],
        messages: vec![(9, message("x")), (10, message("kept"))],
        retained: vec![("a/b".into(), 10)],
        wills: Vec::new(),
    };
    assert_eq!(kept, expected);
    assert_eq!(store.open().1, expected, "an open changes nothing");
}

#[test]
fn a_message_goes_with_the_last_that_refers_to_it() {
    let store = Store::new();
    let all = vec![
        Change::Session(1, session("a")),
        Change::Session(2, session("b")),
        Change::Message(9, message("x")),
        Change::Entry(1, 1, entry(9, KeptStage::Queued)),
        Change::Entry(2, 1, entry(9, KeptStage::Queued)),
        Change::Message(9, message("x")),
        Change::Retained("a/b".into(), Some(9)),
    ];
    assert_eq!(store.after(vec![all]).messages.len(), 1);
    assert_eq!(store.after(vec![vec![Change::EntryGone(1, 1)]]).messages.len(), 1);
    let later = Change::Entry(2, 1, entry(9, KeptStage::Released(4)));
    assert_eq!(store.after(vec![vec![later], vec![Change::Retained("a/b".into(), None)]]).messages.len(), 1);
    let kept = store.after(vec![vec![Change::EntryGone(2, 1)]]);
    assert_eq!((kept.messages, kept.entries, kept.retained), (vec![], vec![], vec![]));
}

#[test]
fn a_message_that_changes_sessions_in_one_transaction_is_in_the_other_one() {
    for last in [Change::EntryGone(1, 1), Change::SessionEnded(1)] {
        let store = Store::new();
        let queued = || entry(9, KeptStage::Queued);
        let one = vec![
            Change::Session(1, session("a")),
            Change::Session(2, session("b")),
            Change::Message(9, message("x")),
            Change::Entry(1, 1, queued()),
        ];
        let other = vec![last, Change::Message(9, message("x")), Change::Entry(2, 1, queued())];
        let kept = store.after(vec![one, other]);
        assert_eq!((kept.entries, kept.messages), (vec![(2, 1, queued())], vec![(9, message("x"))]));
        assert_eq!(store.after(vec![vec![Change::EntryGone(2, 1)]]).messages, []);
    }
}

#[test]
fn a_session_that_ends_takes_all_of_its_own_with_it() {
    let store = Store::new();
    let of = |number| {
        vec![
            Change::Session(number, session("a")),
            Change::Message(number, message("x")),
            Change::Entry(number, 1, entry(number, KeptStage::Queued)),
            Change::Received(number, 5),
            Change::Owed(number, "a/#".into(), Some(KeptOwed::default())),
            Change::Owed(number, "b/#".into(), Some(KeptOwed::default())),
        ]
    };
    let kept = store.after(vec![of(1), of(2), vec![Change::SessionEnded(1)]]);
    assert_eq!(kept.sessions.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
    assert_eq!((kept.entries.len(), kept.received, kept.messages.len()), (1, vec![(2, 5)], 1));
    assert_eq!(kept.owed.iter().map(|(session, ..)| *session).collect::<Vec<_>>(), [2, 2]);
    let kept = store.after(vec![of(3).into_iter().chain([Change::SessionEnded(3), Change::SessionEnded(2)]).collect()]);
    assert_eq!(kept, Kept::default());
}

#[test]
fn the_retained_message_of_a_topic_is_the_last_one() {
    let store = Store::new();
    let set = |number: u64| vec![Change::Message(number, message("x")), Change::Retained("a/b".into(), Some(number))];
    let kept = store.after(vec![set(1), set(2), set(3).into_iter().chain(set(4)).collect()]);
    assert_eq!(kept.retained, [("a/b".to_owned(), 4)]);
    assert_eq!(kept.messages.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [4]);
}

#[test]
fn what_came_and_went_before_it_was_written_never_is() {
    let mut batch = crate::batch::Batch::default();
    for change in [
        Change::Message(9, message("x")),
        Change::Entry(1, 1, entry(9, KeptStage::Queued)),
        Change::Entry(1, 1, entry(9, KeptStage::Published(1))),
        Change::EntryGone(1, 1),
    ] {
        batch.add(change);
    }
    let disk = Disk::default();
    let (mut database, _) = disk.open().unwrap();
    database.commit(&batch).unwrap();
    drop(database);
    assert_eq!(disk.open().unwrap().1, Kept::default());
}

/// A disk that may refuse.
#[derive(Clone, Debug, Default)]
struct Disk {
    memory: Arc<InMemoryBackend>,
    refuses: Arc<AtomicBool>,
}

impl Disk {
    fn open(&self) -> Result<(Database, Kept), KeepError> {
        let disk = self.clone();
        Database::open_by(
            Path::new("sessions"),
            Box::new(move || redb::Builder::new().create_with_backend(disk.clone())),
        )
    }

    fn check(&self) -> io::Result<()> {
        if self.refuses.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.memory.write(offset, data)
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged_and_takes_more_when_there_is_room() {
    let disk = Disk::default();
    let (mut database, _) = disk.open().unwrap();
    let batch = |number: u64| {
        let mut batch = crate::batch::Batch::default();
        batch.add(Change::Session(number, session("a")));
        batch.add(Change::Message(number, message("x")));
        batch.add(Change::Entry(number, 1, entry(number, KeptStage::Queued)));
        batch
    };
    database.commit(&batch(1)).unwrap();
    disk.refuses.store(true, Ordering::SeqCst);
    assert!(matches!(database.commit(&batch(2)), Err(KeepError::Database { .. })));
    assert!(matches!(database.commit(&batch(2)), Err(KeepError::Database { .. })));
    disk.refuses.store(false, Ordering::SeqCst);
    database.commit(&batch(2)).unwrap();
    drop(database);
    let kept = disk.open().unwrap().1;
    assert_eq!((kept.sessions.len(), kept.entries.len(), kept.messages.len()), (2, 2, 2));
}

#[test]
fn whoever_waits_is_woken_when_it_is_durable_and_not_before() {
    let store = Store::new();
    let (keep, _) = store.open();
    let mark = keep.keep(vec![Change::Session(1, session("a"))]);
    wait_for(&keep, mark);
    let woken = Arc::new(Woken::default());
    keep.wake_at(Mark(mark.0 + 1), &Waker::from(Arc::clone(&woken)));
    assert_eq!(woken.times.load(Ordering::SeqCst), 0);
    wait_for(&keep, keep.keep(vec![Change::SessionEnded(1)]));
    assert_eq!(woken.times.load(Ordering::SeqCst), 1);
    assert_eq!((keep.stats().commits, keep.stats().waiting_bytes), (2, 0));
}

#[test]
fn all_connections_may_wait_for_one_moment_and_ask_again_and_each_is_woken_once() {
    const CONNECTIONS: usize = 100_000;
    let store = Store::new();
    let (keep, _) = store.open();
    let woken: Vec<_> = (0..CONNECTIONS).map(|_| Arc::new(Woken::default())).collect();
    let begun = Instant::now();
    for _ in 0..3 {
        for one in &woken {
            keep.wake_at(Mark(1), &Waker::from(Arc::clone(one)));
        }
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}: a look at all who wait already, for each");
    wait_for(&keep, keep.keep(vec![Change::Session(1, session("c"))]));
    keep.stop(); // it has woken all by then
    assert!(woken.iter().all(|one| one.times.load(Ordering::SeqCst) == 1));
}

/// A change of each kind that has something of the client's choice in it, each part of it so many bytes long.
fn changes_of(bytes: usize) -> Vec<Change> {
    let text = || "x".repeat(bytes);
    let data = || Bytes::from(vec![7; bytes]);
    let message = |change: fn(&mut KeptMessage, String, Bytes)| {
        let mut message = KeptMessage::default();
        change(&mut message, text(), data());
        message
    };
    let messages = [
        message(|message, text, _| message.topic = text),
        message(|message, _, data| message.payload = data),
        message(|message, text, _| message.content_type = Some(text)),
        message(|message, text, _| message.response_topic = Some(text)),
        message(|message, _, data| message.correlation_data = Some(data)),
        message(|message, text, _| message.user = vec![(text, String::new())]),
        message(|message, text, _| message.user = vec![(String::new(), text)]),
    ];
    let session = |change: fn(&mut KeptSession, String)| {
        let mut session = session("");
        change(&mut session, text());
        Change::Session(1, session)
    };
    let entry = |change: fn(&mut KeptEntry, String)| {
        let mut entry = entry(1, KeptStage::Queued);
        change(&mut entry, text());
        Change::Entry(1, 1, entry)
    };
    let wills =
        messages.clone().map(|message| Change::Will(1, Some(Box::new(KeptWill { message, ..KeptWill::default() }))));
    let mut changes: Vec<Change> = messages.map(|message| Change::Message(1, Arc::new(message))).into();
    changes.extend(wills);
    changes.extend([
        session(|session, text| session.client = text),
        session(|session, text| session.username = Some(text)),
        session(|session, text| session.subscriptions[0].filter = text),
        entry(|entry, text| entry.shared = Some(text)),
        entry(|entry, text| entry.subscription_ids = vec![std::num::NonZeroU32::MIN; text.len() / 4]),
        Change::Owed(1, text(), None),
        Change::Owed(1, String::new(), Some(KeptOwed { after: Some(text()), upto: 1 })),
        Change::Retained(text(), Some(1)),
        Change::Will(1, Some(Box::new(KeptWill { keepsake: Some(text()), ..KeptWill::default() }))),
    ]);
    changes
}

#[test]
fn whatever_part_of_a_change_is_long_counts_towards_what_waits() {
    const BYTES: usize = 60_000;
    for (short, long) in changes_of(0).iter().zip(&changes_of(BYTES)) {
        let grown = crate::batch::bytes(long).saturating_sub(crate::batch::bytes(short));
        assert!(grown >= BYTES, "{grown} of {BYTES} bytes count of {short:?}");
    }
}

#[test]
fn a_file_of_a_newer_version_or_of_somebody_else_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions");
    std::fs::write(&path, "something else, of some length").unwrap();
    assert!(matches!(Keep::open(&path, KeepSettings::default()), Err(KeepError::Database { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"something else, of some length");

    let newer = folder.path().join("newer");
    let table = redb::TableDefinition::<&str, u64>::new("meta");
    let redb = redb::Database::create(&newer).unwrap();
    let write = redb.begin_write().unwrap();
    write.open_table(table).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(redb);
    assert!(matches!(Keep::open(&newer, KeepSettings::default()), Err(KeepError::NewerFormat { found: 2, .. })));
}

#[test]
fn messages_are_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let store = Store::new();
    let _open = store.open();
    let mode = std::fs::metadata(store.0.path().join("sessions")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
