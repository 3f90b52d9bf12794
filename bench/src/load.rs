//! The load: MQTT 3.1.1 clients that connect and disconnect, or connect and stay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const DISCONNECT: [u8; 2] = [0xe0, 0];
/// Connecting all idle clients at once would overflow a listener's backlog; this many are under way at a time.
const CONNECTING_MAX: usize = 128;

fn connect_packet(client_id: &str) -> Vec<u8> {
    let id_len = u8::try_from(client_id.len()).unwrap_or(u8::MAX);
    let mut packet = vec![0x10, 12 + id_len, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0xff, 0xff, 0, id_len];
    packet.extend(client_id.as_bytes());
    packet
}

async fn join(server: SocketAddr, client_id: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).await.context("connect")?;
    stream.set_nodelay(true)?;
    stream.write_all(&connect_packet(client_id)).await.context("send CONNECT")?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await.context("read CONNACK")?;
    ensure!(connack == [0x20, 2, 0, 0], "refused: {connack:?}");
    Ok(stream)
}

/// Runs whole cycles (TCP connect, CONNECT, CONNACK, DISCONNECT, close by the server) for `time`; tells how many.
pub(crate) async fn cycles(server: SocketAddr, concurrency: usize, time: Duration) -> anyhow::Result<u64> {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let mut clients = JoinSet::new();
    for n in 0..concurrency {
        let done = Arc::clone(&done);
        clients.spawn(async move {
            let client_id = format!("cycle-{n:04}");
            while Instant::now() < end {
                let mut stream = join(server, &client_id).await?;
                stream.write_all(&DISCONNECT).await.context("send DISCONNECT")?;
                let mut rest = [0; 16];
                while stream.read(&mut rest).await.context("await the close")? > 0 {}
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(done.load(Ordering::Relaxed))
}

/// Connects `count` clients that stay and do nothing.
pub(crate) async fn hold(server: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(count);
    let mut connecting = JoinSet::new();
    for n in 0..count {
        if connecting.len() >= CONNECTING_MAX
            && let Some(joined) = connecting.join_next().await
        {
            held.push(joined??);
        }
        connecting.spawn(async move { join(server, &format!("idle-{n:08}")).await });
    }
    while let Some(joined) = connecting.join_next().await {
        held.push(joined??);
    }
    Ok(held)
}

/// Disconnects them, and waits until the server has closed each.
pub(crate) async fn release(held: Vec<TcpStream>) -> anyhow::Result<()> {
    for mut stream in held {
        stream.write_all(&DISCONNECT).await?;
        let mut rest = [0; 16];
        while stream.read(&mut rest).await? > 0 {}
    }
    Ok(())
}
