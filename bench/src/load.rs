//! The load of connections: MQTT 3.1.1 clients that connect and disconnect, or connect and stay.
//!
//! Plain sockets and as few system calls as a cycle can do with: the generator shares the machine with the server, and
//! what it spends itself blurs how servers differ.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::wire::{self, CONNACK, DISCONNECT};

/// A server that says nothing for this long has hung.
const SILENCE_MAX: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Connects and sends CONNECT. Connecting may block: on the loopback address the handshake takes no other's turn.
fn knock(server: SocketAddr, packet: &[u8]) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).context("connect")?;
    stream.write_all(packet).context("send CONNECT")?;
    Ok(stream)
}

fn read_connack(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut connack = [0; CONNACK.len()];
    stream.read_exact(&mut connack).context("read CONNACK")?;
    ensure!(connack == CONNACK, "refused: {connack:?}");
    Ok(())
}

/// One after another, a client that goes through cycles.
struct Cycler {
    packet: Vec<u8>,
    stream: TcpStream,
    accepted: bool,
}

impl Cycler {
    /// Goes on when there is something to read; tells whether that was the end of a cycle.
    fn step(&mut self) -> anyhow::Result<bool> {
        if self.accepted {
            let n = self.stream.read(&mut [0; 16]).context("await the close")?;
            return Ok(n == 0);
        }
        read_connack(&mut self.stream)?;
        self.stream.write_all(&DISCONNECT).context("send DISCONNECT")?;
        self.accepted = true;
        Ok(false)
    }
}

/// Runs whole cycles (TCP connect, CONNECT, CONNACK, DISCONNECT, close by the server) for `time`, `concurrency` at once
/// on each of `threads` threads; tells how many.
pub(crate) fn cycles(server: SocketAddr, threads: usize, concurrency: usize, time: Duration) -> anyhow::Result<u64> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || cycles_of_one_thread(server, thread, concurrency, time)))
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?).sum()
    })
}

fn cycles_of_one_thread(server: SocketAddr, thread: usize, concurrency: usize, time: Duration) -> anyhow::Result<u64> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch = |n: usize, stream: &TcpStream| {
        epoll::add(&epoll, stream, epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)
    };
    let mut cyclers = Vec::with_capacity(concurrency);
    for n in 0..concurrency {
        let packet = wire::connect(&format!("cycle-{thread:02}-{n:04}"), None);
        let stream = knock(server, &packet)?;
        watch(n, &stream)?;
        cyclers.push(Cycler { packet, stream, accepted: false });
    }
    let mut readable = Vec::with_capacity(concurrency);
    let mut done = 0;
    let end = Instant::now() + time;
    while Instant::now() < end {
        if epoll::wait(&epoll, spare_capacity(&mut readable), Some(&SILENCE_MAX))? == 0 {
            bail!("the server says nothing");
        }
        for event in readable.drain(..) {
            let n = usize::try_from(event.data.u64())?;
            let cycler = cyclers.get_mut(n).context("no such client")?;
            if cycler.step()? {
                done += 1;
                cycler.stream = knock(server, &cycler.packet)?; // closing the former takes it out of the epoll set
                cycler.accepted = false;
                watch(n, &cycler.stream)?;
            }
        }
    }
    Ok(done)
}

/// Connects `count` clients that stay and do nothing.
pub(crate) fn hold(server: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let clients = (0..count).map(|n| {
        let mut stream = knock(server, &wire::connect(&format!("idle-{n:08}"), None))?;
        read_connack(&mut stream)?;
        Ok(stream)
    });
    clients.collect()
}

/// Disconnects them, and waits until the server has closed each.
pub(crate) fn release(held: Vec<TcpStream>) -> anyhow::Result<()> {
    for mut stream in held {
        stream.write_all(&DISCONNECT)?;
        while stream.read(&mut [0; 16])? > 0 {}
    }
    Ok(())
}
