//! Every bound of the core, each with the reason for its default, and the only kind of time that it knows.

use std::sync::Arc;

/// Milliseconds on a monotonic clock of the caller: the only time the core knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tick(pub u64);

impl Tick {
    /// The moment `ms` later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The moment `seconds` later.
    #[must_use]
    pub fn plus_s(self, seconds: u32) -> Self {
        self.plus_ms(u64::from(seconds) * 1000)
    }

    /// Milliseconds from `earlier` to here; 0 when it is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Every bound of the core. A bound of 0 means that nothing of the kind is allowed, except where its text says
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the opening of a link to its accepted CONNECT, however busily bytes trickle in. Ten seconds carry a
    /// handshake over a poor mobile network, and leave a silent socket no longer than that.
    pub connect_timeout_ms: u64,
    /// The largest inbound packet, header included. 1 MiB is far above what devices send and bounds what one may make
    /// us hold.
    pub packet_bytes_max: u32,
    /// The longest client identifier. The standard asks for 23; the fleets we know stay under 128 (`GID@@@device`).
    pub client_id_bytes_max: usize,
    /// The most levels of a topic name or filter; values above 200 count as 200, which bounds every walk over levels.
    /// 32 is four times what naming schemes use.
    pub topic_levels_max: usize,
    /// The longest topic name or filter. Long names are paid for in every subscription and retained message.
    pub topic_bytes_max: usize,
    /// The most filters in one SUBSCRIBE or UNSUBSCRIBE: each is one step under the broker's lock.
    pub filters_per_packet_max: usize,
    /// The most subscriptions of one session.
    pub subscriptions_per_session_max: usize,
    /// The most members of one shared subscription: each message may ask each of them whether it has room.
    pub shared_group_members_max: usize,
    /// The most user properties of one packet: nobody needs more, and each is two allocations for every subscriber.
    pub user_properties_max: usize,
    /// Messages of QoS 1 and 2 under way to one client, and the receive maximum that we announce. At least 1 is used.
    /// 32 fills a slow link's round trip and keeps what must be sent again after a cut small.
    pub inflight_max: u16,
    /// Messages waiting in one session. Beyond, QoS 0 is dropped first and counted; one of QoS 1 or 2 for a client that
    /// is there waits with its publisher, one for a client that is away is dropped, counted and told. With 0 nothing
    /// is ever delivered.
    pub queue_messages_max: usize,
    /// Bytes (topic, payload, properties) waiting in one session. A message larger than this is dropped.
    pub queue_bytes_max: usize,
    /// Bytes in all queues and on their way to clients: each message once, and 128 for each queue that it is in (and 4 for each
    /// subscription identifier but the first). Beyond, only
    /// a client that is there and has nothing waiting gets more; for all others it is as if their own queue were full. 1 GiB,
    /// as for retained messages: a million sessions could else ask for 4 TiB.
    pub all_queues_bytes_max: usize,
    /// How long publishers wait for a client that does not empty its queue; then what has no room there is dropped, and
    /// counted. If it takes fewer messages in that time than half of `queue_messages_max`, it is ended as a slow consumer.
    /// 10 s outlasts a lost segment's retransmissions, and bounds by how much one client can hold others up.
    pub slow_consumer_ms: u64,
    /// CONNECTs a second at one listener, five seconds' worth of them at once; 0 for no bound. Only for links that were
    /// opened with their origin.
    pub connects_per_s_max: u32,
    /// The same from one address at that listener (of IPv6, from one network of 64 bits). 0 by default: fleets come by one
    /// address.
    pub connects_per_address_per_s_max: u32,
    /// Sessions, connected or not. A CONNECT that needs one more is refused.
    pub sessions_max: usize,
    /// Retained messages. Beyond, a retained message for a new topic is delivered but not kept, and counted.
    pub retained_messages_max: usize,
    /// Bytes of all retained messages together.
    pub retained_bytes_max: usize,
    /// Longest keep alive in force. MQTT 5.0 clients that ask for more, or for none (0), are told with Server Keep
    /// Alive. 3.x has no way to tell, and refusing them would lock old fleets out: they keep what they asked for, and
    /// the caller's TCP keep-alive finds the dead ones. 0 here means no cap.
    pub keep_alive_s_max: u16,
    /// Longest session expiry in force; longer ones, and 3.x sessions without clean session, get this. A week: the
    /// device that was in repair finds its messages, the one that is gone frees its memory.
    pub session_expiry_s_max: u32,
    /// Where MQTT 5.0 clients are sent when this server stops (`host:port`), if anywhere.
    pub redirect_to: Option<Arc<str>>,
    /// Below which topic a client that asks for Response Information may have itself answered: `{this}/{client id}`.
    pub response_topics: Option<Arc<str>>,
    /// How often the `$SYS` topics are published; 0 for never.
    pub sys_interval_s: u32,
    /// A PUBLISH or SUBSCRIBE without permission is answered with a code (0x87; MQTT 3.x: as if it were taken, 0x80) and
    /// has no effect, instead of ending the connection. Off: the cause of a device's silence stands on record.
    pub refuses_by_code: bool,
    /// Topics below `$SYS/` by which clients speak to the server: [`Permissions::hear`](crate::Permissions::hear).
    pub heard_topics: &'static [&'static str],
    /// Highest topic alias that we take; announced to the client.
    pub topic_alias_max: u16,
}

impl Limits {
    /// Levels that a topic may have whatever was configured.
    const LEVELS_CEILING: usize = 200;

    pub(crate) fn levels(&self) -> usize {
        self.topic_levels_max.min(Self::LEVELS_CEILING)
    }

    pub(crate) fn window(&self) -> u16 {
        self.inflight_max.max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            packet_bytes_max: 1024 * 1024,
            client_id_bytes_max: 256,
            topic_levels_max: 32,
            topic_bytes_max: 1024,
            filters_per_packet_max: 256,
            subscriptions_per_session_max: 1000,
            shared_group_members_max: 1000,
            user_properties_max: 64,
            inflight_max: 32,
            queue_messages_max: 1000,
            queue_bytes_max: 4 * 1024 * 1024,
            all_queues_bytes_max: 1024 * 1024 * 1024,
            slow_consumer_ms: 10_000,
            connects_per_s_max: 0,
            connects_per_address_per_s_max: 0,
            sessions_max: 1_000_000,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1024 * 1024 * 1024,
            keep_alive_s_max: 3600,
            session_expiry_s_max: 7 * 24 * 3600,
            redirect_to: None,
            response_topics: None,
            sys_interval_s: 10,
            refuses_by_code: false,
            heard_topics: &[],
            topic_alias_max: 32,
        }
    }
}
