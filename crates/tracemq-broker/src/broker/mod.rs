//! What outlives connections, shared by all links behind one lock: who has which session, who subscribed to what, what
//! is retained, and when something must end.
//!
//! The lock is held for a lookup or a change in these tables, never while bytes are written or wakers are woken.

mod attach;
mod calendar;
mod clients;
mod kept;
mod publish;
mod rate;
mod retained;
mod send;
mod sys;
mod traces;
mod wills;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytestring::ByteString;
use tracemq_model::{ClientId, ConnectionId, End};

pub(crate) use attach::{Attached, Departure, Newcomer};
pub use clients::{ClientsPage, ConnectedClient, Origin, Whose};
pub(crate) use publish::{Progress, Rest};
pub use send::{NotSent, Sent};
pub(crate) use traces::Traces;
pub use traces::{Passage, Traced, Tracer};

use crate::limits::{Limits, Tick};
use crate::link::{Link, Notice};
use crate::packet::{RetainHandling, Subscription};
use crate::routing::{Inserted, Retained, Subscriber, Subscriptions};
use crate::rules::{Filter, parts};
use crate::session::{Keeping, Mailbox, Owed, Pool, Session};
use attach::Leftovers;
use calendar::Calendar;
use rate::Rates;
use sys::Sys;
use wills::Will;

/// Sessions, and retained topics, that are ended under one hold of the lock: whoever connects meanwhile waits for one step.
const EXPIRE_STEP: usize = 256;

/// What is there at a moment, and what has passed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerStats {
    /// Links whose CONNECT was accepted and that have not ended.
    pub connections: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Subscriptions of all sessions, shared ones among them.
    pub subscriptions: usize,
    /// Shared ones.
    pub shared_subscriptions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Bytes that all queues hold together: each message once, and 128 for each queue that it is in or on its way from,
    /// with 4 for each subscription identifier but the first.
    pub queued_bytes: usize,
    /// PUBLISH packets taken from clients.
    pub messages_received: u64,
    /// PUBLISH packets sent to clients.
    pub messages_sent: u64,
    /// Messages that were for a client and did not reach it (queue full, expired, larger than the client takes), and
    /// retained messages for which there was no room.
    pub messages_dropped: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicUsize,
    /// CONNECTs that were accepted.
    pub(crate) connects: AtomicU64,
    /// PUBLISH packets, those that were dropped, and their payloads.
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) payload_in: AtomicU64,
    pub(crate) payload_out: AtomicU64,
    /// Packets of every kind, and bytes.
    pub(crate) packets_in: AtomicU64,
    pub(crate) packets_out: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Sessions whose time was over.
    pub(crate) expired: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Leaves those alone that stay what they are: each is shared by all links.
    pub(crate) fn add_all(counts: &[(&AtomicU64, u64)]) {
        counts.iter().filter(|(_, count)| *count > 0).for_each(|(counter, count)| Self::add(counter, *count));
    }
}

/// Everything behind the lock.
#[derive(Default)]
struct Tables {
    /// In the order of their names, for lists in pages.
    sessions: BTreeMap<ClientId, Arc<Session>>,
    last_session: u64,
    subscriptions: Subscriptions,
    retained: Retained,
    /// What the broker itself publishes.
    own: Retained,
    links: HashMap<ConnectionId, Arc<Mailbox>>,
    calendar: Calendar,
    /// Wills that were due before the start.
    overdue: Vec<Will>,
    stopped: Option<End>,
}

/// What all links share: sessions, subscriptions, retained messages.
pub struct Broker {
    limits: Arc<Limits>,
    /// None when nothing is kept over a restart.
    keeping: Option<Keeping>,
    /// The number of the last message.
    messages: AtomicU64,
    /// Written to when somebody comes, goes or subscribes, or something is retained; routing reads.
    tables: RwLock<Tables>,
    /// What all queues hold.
    pool: Arc<Pool>,
    counters: Counters,
    sys: Mutex<Sys>,
    rates: Mutex<Rates>,
    /// Not set when no message is traced.
    tracer: OnceLock<Arc<dyn Tracer>>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker without sessions and messages.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits: Arc::new(limits),
            keeping: None,
            messages: AtomicU64::new(0),
            tables: RwLock::default(),
            pool: Arc::default(),
            counters: Counters::default(),
            sys: Mutex::default(),
            rates: Mutex::default(),
            tracer: OnceLock::new(),
        })
    }

    /// A network connection was accepted: gives its half. `connection` must be unique among the open ones.
    pub fn open(self: &Arc<Self>, connection: ConnectionId, now: Tick) -> Link {
        self.open_with(connection, None, &self.limits, now)
    }

    fn open_with(
        self: &Arc<Self>,
        connection: ConnectionId,
        origin: Option<Box<Origin>>,
        limits: &Arc<Limits>,
        now: Tick,
    ) -> Link {
        let mailbox = Arc::new(Mailbox::new(connection, origin));
        let mut tables = self.lock();
        if let Some(end) = &tables.stopped {
            mailbox.order_end(end.clone());
        }
        tables.links.insert(connection, Arc::clone(&mailbox));
        drop(tables);
        Link::new(Arc::clone(self), Arc::clone(limits), connection, mailbox, now)
    }

    /// Ends sessions and retained messages whose time is over, and publishes wills whose delay has passed and the
    /// `$SYS` topics. To be called about once a second, and soon again when it says that there is more: at most 256
    /// sessions and as many topics go under one hold of the lock, for which everybody else waits.
    pub fn expire(&self, now: Tick) -> bool {
        let mut more = false;
        let leftovers = self.alter(now, |tables, leftovers| {
            let topics = tables.retained.expire(now, EXPIRE_STEP);
            topics.iter().for_each(|topic| self.keep_no_retained(topic));
            more = tables.end_due(now, EXPIRE_STEP, leftovers) || topics.len() >= EXPIRE_STEP;
        });
        Counters::add(&self.counters.expired, leftovers.expired);
        self.settle(now, leftovers);
        self.publish_sys(now);
        more
    }

    /// Ends every link with `end` (MQTT 5.0 clients get a DISCONNECT), and each that is opened later.
    pub fn shut_down(&self, end: End) {
        let mut tables = self.lock();
        let links: Vec<Arc<Mailbox>> = tables.links.values().cloned().collect();
        let end = tables.stopped.insert(end).clone();
        drop(tables);
        for link in links {
            link.order_end(end.clone());
        }
    }

    /// Ends one connection's link with `end`, as an administrator does. False when there is no such link.
    pub fn end_link(&self, connection: ConnectionId, end: End) -> bool {
        let link = self.read().links.get(&connection).cloned();
        if let Some(link) = &link {
            link.order_end(end);
        }
        link.is_some()
    }

    /// Leaves a notice for the client of a connection, to be sent before whatever ends it later. False when there is no such
    /// connection; one that is too many is dropped, and counted.
    pub fn tell(&self, connection: ConnectionId, notice: Notice) -> bool {
        let link = self.read().links.get(&connection).cloned();
        if let Some(link) = &link
            && !link.tell(notice)
        {
            Counters::add(&self.counters.dropped, 1);
        }
        link.is_some()
    }

    /// Figures of this moment.
    pub fn stats(&self) -> BrokerStats {
        let tables = self.read();
        BrokerStats {
            connections: self.counters.connections.load(Ordering::Relaxed),
            sessions: tables.sessions.len(),
            subscriptions: tables.subscriptions.count(),
            shared_subscriptions: tables.subscriptions.shared_count(),
            retained: tables.retained.count(),
            queued_bytes: self.pool.bytes(),
            messages_received: self.counters.received.load(Ordering::Relaxed),
            messages_sent: self.counters.sent.load(Ordering::Relaxed),
            messages_dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }

    /// Counts anew what [`BrokerStats::queued_bytes`] tells: for tests, when nothing else goes on.
    #[doc(hidden)]
    pub fn count_queued_bytes(&self) -> usize {
        let mut holds = HashMap::new();
        for session in self.read().sessions.values() {
            session.lock().count_holds(&mut holds);
        }
        holds.into_values().map(|(message, beside)| message.cost(beside)).sum()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes; gives the codes for the SUBACK. Retained messages go into the session's queue as it has room.
    pub(crate) fn subscribe(
        &self,
        now: Tick,
        session: &Arc<Session>,
        subscription_id: Option<NonZeroU32>,
        filters: &[Subscription],
    ) -> Vec<u8> {
        let mut codes = Vec::with_capacity(filters.len());
        let mut tables = self.lock();
        let last_message = self.messages.load(Ordering::Relaxed);
        for one in filters {
            let state = session.lock();
            let known = state.filters.contains(&one.filter);
            if state.ended || (!known && state.filters.len() >= self.limits.subscriptions_per_session_max) {
                codes.push(0x97);
                continue;
            }
            drop(state);
            let subscriber = Subscriber {
                session: Arc::clone(session),
                qos: one.qos,
                no_local: one.no_local,
                retain_as_published: one.retain_as_published,
                subscription_id,
            };
            let members_max = self.limits.shared_group_members_max;
            let inserted = tables.subscriptions.insert(&one.filter, subscriber, members_max);
            if inserted == Inserted::Full {
                codes.push(0x97);
                continue;
            }
            let mut state = session.lock();
            state.note_filter(&one.filter);
            state.keep_subscription(kept::subscription(one, subscription_id));
            codes.push(one.qos.code());
            let wanted = match one.retain_handling {
                RetainHandling::Always => true,
                RetainHandling::IfNew => inserted == Inserted::New,
                RetainHandling::Never => false,
            };
            // Members of a group get nothing that was retained before [MQTT 5.0, 4.8.2].
            if wanted && matches!(parts(&one.filter), Filter::Plain(_)) {
                let filter = ByteString::from(one.filter.to_string()); // a slice would keep the whole packet alive
                let (upto, back) = (last_message, last_message);
                state.owe(Owed { filter, qos: one.qos, subscription_id, upto, back, after: None });
            } else {
                state.owe_as(&one.filter, one.qos, subscription_id);
            }
        }
        session.lock().keep_session();
        drop(tables);
        self.hand_out_retained(now, session);
        codes
    }

    /// Unsubscribes; tells for each filter whether it was there.
    pub(crate) fn unsubscribe<'a>(&self, session: &Session, filters: impl Iterator<Item = &'a str>) -> Vec<bool> {
        let mut tables = self.lock();
        let there = filters
            .map(|filter| {
                let mut state = session.lock();
                state.forget_filter(filter);
                state.forget_subscription(filter);
                state.owe_no_more(filter);
                drop(state);
                tables.subscriptions.remove(filter, session.number)
            })
            .collect();
        session.lock().keep_session();
        there
    }
}
