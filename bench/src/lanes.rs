//! The load of messages: lanes of one publisher and its subscribers, each with a bounded number of messages under way.
//!
//! A lane publishes only while less than its window is unacknowledged and undelivered, so that no server has a reason to
//! drop anything, and what is measured was delivered. Sockets block when written to and are read when there is something:
//! a window's bytes fit into the buffers of a socket. Packets are made beforehand; whatever one read brings is answered
//! with one write.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::wire::{self, kind};

const READ_BYTES: usize = 64 * 1024;
/// A server that says nothing for this long while something is under way has lost it.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) qos: u8,
    pub(crate) fan_out: usize,
    pub(crate) publishers: usize,
    pub(crate) payload_bytes: usize,
    /// Messages of one publisher under way.
    pub(crate) window: usize,
    /// Messages a second by all publishers; none for as many as go.
    pub(crate) rate: Option<f64>,
    /// User and password.
    pub(crate) login: Option<(&'static str, &'static str)>,
}

/// What the threads of the load have in common.
pub(crate) struct Shared {
    pub(crate) published: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// Nothing more is published.
    pub(crate) stop: AtomicBool,
    /// Latencies are noted.
    pub(crate) measuring: AtomicBool,
    started: Instant,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            measuring: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What one thread ends with.
#[derive(Default)]
pub(crate) struct Tally {
    /// In nanoseconds, from when a message was due to be published.
    pub(crate) latencies: Vec<u64>,
    pub(crate) undelivered: u64,
}

struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Client {
    fn connect(server: SocketAddr, client_id: &str, traffic: &Traffic) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(server).context("connect")?;
        stream.set_nodelay(true)?;
        stream.write_all(&wire::connect(client_id, traffic.login))?;
        let mut connack = [0; wire::CONNACK.len()];
        stream.read_exact(&mut connack).context("read CONNACK")?;
        ensure!(connack == wire::CONNACK, "refused: {connack:?}");
        Ok(Self { stream, input: Vec::new(), output: Vec::new() })
    }

    fn subscribe(&mut self, filter: &str, qos: u8) -> anyhow::Result<()> {
        self.stream.write_all(&wire::subscribe(filter, qos))?;
        let mut suback = [0; 5];
        self.stream.read_exact(&mut suback).context("read SUBACK")?;
        ensure!(suback.first() == Some(&(kind::SUBACK << 4)) && suback.last() == Some(&qos), "SUBACK {suback:?}");
        Ok(())
    }

    /// One read, and `handle` for each whole packet; what it puts into the output goes out with one write.
    fn turn(
        &mut self,
        buffer: &mut [u8],
        mut handle: impl FnMut(&wire::Frame<'_>, &mut Vec<u8>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let n = self.stream.read(buffer).context("read")?;
        ensure!(n > 0, "the server closed a connection");
        let read = buffer.get(..n).unwrap_or_default();
        let mut rest = if self.input.is_empty() {
            read
        } else {
            self.input.extend_from_slice(read);
            &self.input
        };
        while let Some(frame) = wire::next(&mut rest)? {
            handle(&frame, &mut self.output)?;
        }
        self.input = rest.to_vec(); // nothing, or the beginning of a packet
        self.flush()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).context("write")?;
            self.output.clear();
        }
        Ok(())
    }
}

/// One topic: who publishes to it, and who is subscribed.
struct Lane {
    publisher: Client,
    subscribers: Vec<Client>,
    template: wire::Publish,
    next_id: u16,
    unacknowledged: usize,
    published: u64,
    delivered: u64,
    /// When the next message is due, and how long it is to the one after; none for at once.
    schedule: Option<(u64, u64)>,
}

impl Lane {
    fn open(server: SocketAddr, traffic: &Traffic, number: usize) -> anyhow::Result<Self> {
        let topic = format!("bench/lane/{number:04}");
        let mut subscribers = Vec::with_capacity(traffic.fan_out);
        for n in 0..traffic.fan_out {
            let mut client = Client::connect(server, &format!("sub-{number:04}-{n:04}"), traffic)?;
            client.subscribe(&topic, traffic.qos)?;
            subscribers.push(client);
        }
        // The first messages of the lanes are spread over an interval.
        let interval = traffic.rate.map(|rate| traffic.publishers as f64 / rate * 1e9);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds of a short interval")]
        let schedule = interval.map(|ns| ((ns * number as f64 / traffic.publishers as f64) as u64, ns.max(1.0) as u64));
        Ok(Self {
            publisher: Client::connect(server, &format!("pub-{number:04}"), traffic)?,
            subscribers,
            template: wire::publish(&topic, traffic.qos, traffic.payload_bytes),
            next_id: 1,
            unacknowledged: 0,
            published: 0,
            delivered: 0,
            schedule,
        })
    }

    fn under_way(&self) -> u64 {
        self.published * self.subscribers.len() as u64 - self.delivered
    }

    fn has_room(&self, window: usize) -> bool {
        self.unacknowledged < window
            && self.under_way() + self.subscribers.len() as u64 <= (window * self.subscribers.len()) as u64
    }

    /// Publishes what is due and may be; tells how much that was.
    fn publish(&mut self, traffic: &Traffic, shared: &Shared) -> anyhow::Result<u64> {
        let before = self.published;
        while self.has_room(traffic.window) {
            let due = match &mut self.schedule {
                None => 0,
                Some((due, _)) if *due > shared.now_ns() => break,
                Some((due, interval)) => {
                    let this = *due;
                    *due += *interval;
                    this
                }
            };
            let wire::Publish { packet, id_at, payload_at } = &mut self.template;
            if traffic.qos > 0 {
                put(packet, *id_at, &self.next_id.to_be_bytes());
                self.next_id = self.next_id.checked_add(1).unwrap_or(1);
                self.unacknowledged += 1;
            }
            if self.schedule.is_some() {
                put(packet, *payload_at, &due.to_be_bytes());
            }
            self.publisher.output.extend_from_slice(packet);
            self.published += 1;
        }
        self.publisher.flush()?;
        Ok(self.published - before)
    }
}

fn put(packet: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = packet.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// All lanes of one thread.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    epoll: OwnedFd,
    traffic: Traffic,
}

/// Lane and client of an event; the publisher is client 0.
fn token(lane: usize, client: usize) -> epoll::EventData {
    epoll::EventData::new_u64((lane as u64) << 32 | client as u64)
}

impl Lanes {
    /// Connects lanes `numbers`, and subscribes.
    pub(crate) fn open(
        server: SocketAddr,
        traffic: Traffic,
        numbers: impl Iterator<Item = usize>,
    ) -> anyhow::Result<Self> {
        let lanes = numbers.map(|number| Lane::open(server, &traffic, number)).collect::<anyhow::Result<Vec<_>>>()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (n, lane) in lanes.iter().enumerate() {
            for (client, Client { stream, .. }) in std::iter::once(&lane.publisher).chain(&lane.subscribers).enumerate()
            {
                epoll::add(&epoll, stream, token(n, client), epoll::EventFlags::IN)?;
            }
        }
        Ok(Self { lanes, epoll, traffic })
    }

    /// Publishes and receives until told to stop, and then until nothing is under way any more.
    pub(crate) fn run(mut self, shared: &Shared) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        let mut buffer = vec![0; READ_BYTES];
        let mut events = Vec::with_capacity(1_024);
        let mut heard = Instant::now();
        let begin = shared.now_ns();
        for lane in &mut self.lanes {
            lane.schedule = lane.schedule.map(|(first, interval)| (begin + first, interval));
        }
        loop {
            let stops = shared.stop.load(Ordering::Relaxed);
            let idle = self.lanes.iter().all(|lane| lane.unacknowledged == 0 && lane.under_way() == 0);
            if stops && (idle || heard.elapsed() > SILENCE_MAX) {
                break;
            }
            if !stops {
                let mut published = 0;
                for lane in &mut self.lanes {
                    published += lane.publish(&self.traffic, shared)?;
                }
                shared.published.fetch_add(published, Ordering::Relaxed);
            }
            let wait = self.wait(shared);
            if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))? > 0 {
                heard = Instant::now();
            } else if !idle && heard.elapsed() > SILENCE_MAX && !stops {
                bail!("the server has lost something: nothing comes, and something is under way");
            }
            let mut delivered = 0;
            for event in events.drain(..) {
                delivered += self.on_event(event.data.u64(), &mut buffer, shared, &mut tally)?;
            }
            shared.delivered.fetch_add(delivered, Ordering::Relaxed);
        }
        tally.undelivered = self.lanes.iter().map(Lane::under_way).sum();
        Ok(tally)
    }

    /// Until the next message is due; a while without schedule.
    fn wait(&self, shared: &Shared) -> Timespec {
        let next = self.lanes.iter().filter(|lane| lane.has_room(self.traffic.window)).filter_map(|lane| lane.schedule);
        let wait = next.map(|(due, _)| due).min().map_or(100_000_000, |due| due.saturating_sub(shared.now_ns()));
        let wait = wait.min(100_000_000); // it may be told to stop
        Timespec { tv_sec: 0, tv_nsec: i64::try_from(wait).unwrap_or(0) }
    }

    fn on_event(&mut self, token: u64, buffer: &mut [u8], shared: &Shared, tally: &mut Tally) -> anyhow::Result<u64> {
        let lane = self.lanes.get_mut(usize::try_from(token >> 32)?).context("no such lane")?;
        let client = usize::try_from(token & 0xffff_ffff)?;
        let mut delivered = 0;
        let mut done = 0;
        if client == 0 {
            lane.publisher.turn(buffer, |frame, output| {
                match frame.kind {
                    kind::PUBACK | kind::PUBCOMP => done += 1,
                    kind::PUBREC => output.extend(wire::acknowledgement(kind::PUBREL, frame.id()?)),
                    other => bail!("a publisher got a packet of type {other}"),
                }
                Ok(())
            })?;
        } else {
            let noted = lane.schedule.is_some() && shared.measuring.load(Ordering::Relaxed);
            let now = if noted { shared.now_ns() } else { 0 };
            let subscriber = lane.subscribers.get_mut(client - 1).context("no such subscriber")?;
            subscriber.turn(buffer, |frame, output| {
                match (frame.kind, frame.qos) {
                    (kind::PUBLISH, qos) => {
                        delivered += 1;
                        if qos > 0 {
                            let answer = if qos == 1 { kind::PUBACK } else { kind::PUBREC };
                            output.extend(wire::acknowledgement(answer, frame.id()?));
                        }
                        if noted && let Some(due) = frame.payload()?.first_chunk() {
                            tally.latencies.push(now.saturating_sub(u64::from_be_bytes(*due)));
                        }
                    }
                    (kind::PUBREL, _) => output.extend(wire::acknowledgement(kind::PUBCOMP, frame.id()?)),
                    (other, _) => bail!("a subscriber got a packet of type {other}"),
                }
                Ok(())
            })?;
        }
        lane.unacknowledged = lane.unacknowledged.saturating_sub(done);
        lane.delivered += delivered;
        Ok(delivered)
    }
}
