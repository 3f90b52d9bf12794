//! What is kept over a restart: the way to the keeper, and back from it.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use bytestring::ByteString;
use tracemq_model::ClientId;

use super::wills::Will;
use super::{Broker, Counters, Tables};
use crate::keeping::{
    Change, Keeper, Kept, KeptEntry, KeptMessage, KeptOwed, KeptSession, KeptStage, KeptSubscription, KeptWill, Recall,
};
use crate::limits::{Limits, Tick};
use crate::link::Permissions;
use crate::packet::{Message, MessageProperties, Qos, Routed, Subscription};
use crate::routing::{Inserted, Subscriber};
use crate::rules;
use crate::session::{Hold, Keeping, Ledger, Owed, PendingWill, Pool, Published, Queued, Session, State};

/// A subscription as it is kept.
pub(super) fn subscription(one: &Subscription, id: Option<NonZeroU32>) -> KeptSubscription {
    KeptSubscription {
        filter: one.filter.to_string(),
        qos: one.qos.code(),
        no_local: one.no_local,
        retain_as_published: one.retain_as_published,
        id,
    }
}

impl Broker {
    /// A broker that goes on with what was `kept`, and hands what changes to `keeper`. `now` and `wall_now`, in
    /// milliseconds since 1970, are the same moment. Sessions that had a client then have been without one since now.
    ///
    /// What can't be used any more (expired, or against bounds that were lowered since) is left out, and the keeper told. Wills
    /// whose clients `recall` knows nothing of are dropped, and counted.
    pub fn with_keeper(
        limits: Limits,
        keeper: Arc<dyn Keeper>,
        kept: Kept,
        recall: &Recall<'_>,
        now: Tick,
        wall_now: i64,
    ) -> Arc<Self> {
        let wall_at_zero = wall_now.saturating_sub(i64::try_from(now.0).unwrap_or(i64::MAX));
        let keeping = Keeping { keeper, wall_at_zero };
        let numbers =
            kept.messages.iter().map(|(number, _)| *number).chain(kept.wills.iter().map(|(number, _)| *number));
        let numbers = numbers.chain(kept.owed.iter().map(|(_, _, owed)| owed.upto));
        let last_message = numbers.max().unwrap_or(0);
        let pool = Arc::default();
        let mut restoring = Restoring::new(&limits, &keeping, &pool, now, wall_now, kept.messages);
        restoring.last_message = last_message;
        restoring.wills(kept.wills, recall);
        restoring.sessions(kept.sessions, kept.entries, &kept.received);
        restoring.retained(kept.retained);
        restoring.owed(kept.owed);
        let Restoring { mut tables, changes, wills, wills_dropped, .. } = restoring;
        // Their sessions have ended.
        tables.overdue.extend(wills.into_values().map(|will| will.at_once()));
        keeping.keeper.keep(changes);
        Arc::new(Self {
            limits: Arc::new(limits),
            keeping: Some(keeping),
            messages: AtomicU64::new(last_message),
            tables: RwLock::new(tables),
            pool: Arc::clone(&pool),
            counters: Counters { dropped: AtomicU64::new(wills_dropped), ..Counters::default() },
            sys: Mutex::default(),
            rates: Mutex::default(),
            tracer: OnceLock::new(),
        })
    }

    pub(crate) fn keeper(&self) -> Option<&Arc<dyn Keeper>> {
        self.keeping.as_ref().map(|keeping| &keeping.keeper)
    }

    /// What a session needs to be kept.
    pub(super) fn ledger(&self, session: &Session) -> Option<Box<Ledger>> {
        let keeping = self.keeping.clone()?;
        Some(Box::new(Ledger::new(keeping, session.number, session.client.clone())))
    }

    /// The number of a new message.
    pub(super) fn next_message(&self) -> u64 {
        self.messages.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Keeps what is retained of the message's topic from now on. Called under the lock, which gives the changes of a topic
    /// their order. Tells whether there is a keeper.
    pub(super) fn keep_retained(&self, routed: &Routed, is_retained: bool) -> bool {
        let Some(keeping) = &self.keeping else { return false };
        let topic = routed.message.topic.to_string();
        let changes = if is_retained && !routed.message.payload.is_empty() {
            let message = Change::Message(routed.number, keeping.message(routed));
            vec![message, Change::Retained(topic, Some(routed.number))]
        } else {
            vec![Change::Retained(topic, None)]
        };
        keeping.keeper.keep(changes);
        true
    }

    /// Nothing is retained of the topic any more.
    pub(super) fn keep_no_retained(&self, topic: &str) {
        if let Some(keeping) = &self.keeping {
            keeping.keeper.keep(vec![Change::Retained(topic.to_owned(), None)]);
        }
    }
}

/// What was kept, on its way back into the tables.
struct Restoring<'a> {
    limits: &'a Limits,
    keeping: &'a Keeping,
    now: Tick,
    wall_now: i64,
    messages: HashMap<u64, Routed>,
    last_message: u64,
    tables: Tables,
    /// By session.
    wills: BTreeMap<u64, AbsentWill>,
    wills_dropped: u64,
    /// What is not there any more.
    changes: Vec<Change>,
}

/// A will whose client is away, with what that client may do.
struct AbsentWill {
    number: u64,
    kept: KeptWill,
    permissions: Arc<dyn Permissions>,
}

impl AbsentWill {
    fn at_once(self) -> Will {
        let message = Arc::new(will_message(&self.kept));
        let (session, permissions) = (self.kept.session, self.permissions);
        Will { session, client: None, connection: None, message, permissions, kept: self.number }
    }
}

/// Its life begins when it is published, and what is kept of it then is not what was kept so far.
fn will_message(kept: &KeptWill) -> Message {
    Message { expiry_s: kept.expiry_s, kept: OnceLock::new(), ..message(&Arc::new(kept.message.clone())) }
}

impl<'a> Restoring<'a> {
    fn new(
        limits: &'a Limits,
        keeping: &'a Keeping,
        pool: &Arc<Pool>,
        now: Tick,
        wall_now: i64,
        messages: Vec<(u64, Arc<KeptMessage>)>,
    ) -> Self {
        let routed = |(number, kept): (u64, Arc<KeptMessage>)| {
            let expires = kept.expires.map(|wall| keeping.tick(wall));
            (number, Routed { number, message: Published::new(message(&kept), pool), expires })
        };
        let messages = messages.into_iter().map(routed).collect();
        Self {
            limits,
            keeping,
            now,
            wall_now,
            messages,
            last_message: 0,
            tables: Tables::default(),
            wills: BTreeMap::new(),
            wills_dropped: 0,
            changes: Vec::new(),
        }
    }

    fn wills(&mut self, wills: Vec<(u64, KeptWill)>, recall: &Recall<'_>) {
        for (number, kept) in wills {
            let Some(permissions) = kept.keepsake.as_deref().and_then(recall) else {
                self.wills_dropped += 1;
                self.changes.push(Change::Will(number, None));
                continue;
            };
            // One that was about to be published when its client had another already.
            if let Some(earlier) = self.wills.insert(kept.session, AbsentWill { number, kept, permissions }) {
                self.tables.overdue.push(earlier.at_once());
            }
        }
    }

    /// Lets the will of a session wait again, as if its client had gone now if it was there to the last.
    fn will(&mut self, session: u64, state: &mut State) {
        let Some(AbsentWill { number, mut kept, permissions }) = self.wills.remove(&session) else { return };
        // Not longer than its delay, also when the clock was set back meanwhile.
        let latest = self.now.plus_s(kept.delay_s);
        let due = kept.due.map_or(latest, |wall| self.keeping.tick(wall).min(latest));
        let message = Arc::new(will_message(&kept));
        let wall = self.keeping.wall(due);
        if kept.due.replace(wall) != Some(wall) {
            self.changes.push(Change::Will(number, Some(Box::new(kept))));
        }
        state.restore_will(number, PendingWill { message, permissions, due });
    }

    fn sessions(
        &mut self,
        sessions: Vec<(u64, KeptSession)>,
        entries: Vec<(u64, u64, KeptEntry)>,
        received: &[(u64, u16)],
    ) {
        let mut of_session: BTreeMap<u64, Vec<(u64, KeptEntry)>> = BTreeMap::new();
        for (session, place, entry) in entries {
            of_session.entry(session).or_default().push((place, entry));
        }
        for (number, kept) in sessions {
            self.tables.last_session = self.tables.last_session.max(number);
            let entries = of_session.remove(&number).unwrap_or_default();
            let is_over = kept.expiry_s == 0 || kept.expires.is_some_and(|expires| expires <= self.wall_now);
            match ClientId::new(&kept.client) {
                Ok(client) if !is_over => self.session(number, client, kept, entries, received),
                Ok(_) | Err(_) => self.changes.push(Change::SessionEnded(number)),
            }
        }
    }

    fn session(
        &mut self,
        number: u64,
        client: ClientId,
        mut kept: KeptSession,
        mut entries: Vec<(u64, KeptEntry)>,
        received: &[(u64, u16)],
    ) {
        kept.subscriptions.retain(|one| rules::filter(&one.filter, self.limits).is_ok());
        let subscriptions = kept.subscriptions.clone();
        let expires = match kept.expires {
            Some(wall) => self.keeping.tick(wall),
            None => self.now.plus_s(kept.expiry_s),
        };
        entries.sort_by_key(|(place, _)| *place);
        let entries = entries.into_iter().filter_map(|(place, entry)| self.entry(number, place, entry)).collect();
        let from = received.partition_point(|(session, _)| *session < number);
        let received = received.iter().skip(from).take_while(|(session, _)| *session == number);
        let ledger = Ledger::new(self.keeping.clone(), number, client.clone());
        let mut state = State::restored(ledger, kept, entries, received.map(|(_, packet_id)| *packet_id));
        state.expires = Some(expires);
        for one in &subscriptions {
            state.note_filter(&one.filter);
        }
        state.keep_session();
        self.will(number, &mut state);
        let session = Arc::new(Session::restored(number, client.clone(), state));
        for one in subscriptions {
            let subscriber = Subscriber {
                session: Arc::clone(&session),
                qos: qos(one.qos),
                no_local: one.no_local,
                retain_as_published: one.retain_as_published,
                subscription_id: one.id,
            };
            let most = self.limits.shared_group_members_max;
            if self.tables.subscriptions.insert(&one.filter, subscriber, most) == Inserted::Full {
                session.lock().forget_filter(&one.filter);
            }
        }
        let mut state = session.lock();
        self.tables.note(&session, &mut state);
        drop(state);
        self.tables.sessions.insert(client, session);
    }

    fn entry(&mut self, session: u64, place: u64, entry: KeptEntry) -> Option<(Queued, KeptStage)> {
        let known = self.messages.get(&entry.message);
        let is_expired = entry.stage == KeptStage::Queued && known.is_some_and(|routed| routed.is_expired(self.now));
        let Some(routed) = known.filter(|_| !is_expired).cloned() else {
            self.changes.push(Change::EntryGone(session, place));
            return None;
        };
        let queued = Queued {
            held: Some(Hold::take(&routed.message, entry.subscription_ids.len())),
            routed,
            qos: qos(entry.qos),
            retain: entry.retain,
            subscription_ids: entry.subscription_ids,
            shared: entry.shared.map(Into::into),
            place,
        };
        Some((queued, entry.stage))
    }

    fn owed(&mut self, owed: Vec<(u64, String, KeptOwed)>) {
        let sessions: HashMap<u64, &Arc<Session>> =
            self.tables.sessions.values().map(|session| (session.number, session)).collect();
        for (number, filter, kept) in owed {
            // One that has ended was told with all that was in it.
            let Some(session) = sessions.get(&number) else { continue };
            let mut state = session.lock();
            match state.kept_subscription(&filter) {
                Some(one) => state.restore_owed(Owed::restored(&one, qos(one.qos), kept, self.last_message)),
                None => self.changes.push(Change::Owed(number, filter, None)),
            }
        }
    }

    fn retained(&mut self, retained: Vec<(String, u64)>) {
        for (topic, number) in retained {
            let known = self.messages.get(&number).filter(|routed| !routed.is_expired(self.now)).cloned();
            let is_retained = known.is_some_and(|routed| {
                let (count_max, bytes_max) = (self.limits.retained_messages_max, self.limits.retained_bytes_max);
                self.tables.retained.set(routed, count_max, bytes_max)
            });
            if !is_retained {
                self.changes.push(Change::Retained(topic, None));
            }
        }
    }
}

fn qos(code: u8) -> Qos {
    match code {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

fn message(kept: &Arc<KeptMessage>) -> Message {
    let text = |text: &String| ByteString::from(text.as_str());
    let has_properties = kept.utf8_payload
        || kept.content_type.is_some()
        || kept.response_topic.is_some()
        || kept.correlation_data.is_some()
        || !kept.user.is_empty();
    let properties = has_properties.then(|| {
        Box::new(MessageProperties {
            utf8_payload: kept.utf8_payload,
            content_type: kept.content_type.as_ref().map(text),
            response_topic: kept.response_topic.as_ref().map(text),
            correlation_data: kept.correlation_data.clone(),
            user: kept.user.iter().map(|(name, value)| (text(name), text(value))).collect(),
        })
    });
    Message {
        topic: text(&kept.topic),
        payload: kept.payload.clone(),
        qos: qos(kept.qos),
        retain: kept.retain,
        // What is left of it is told by the moment at which it expires.
        expiry_s: None,
        properties,
        trace: kept.trace.map(Box::new),
        kept: OnceLock::from(Arc::clone(kept)),
    }
}
