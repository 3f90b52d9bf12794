//! The pretend devices. Each plays one way to live or to drop, over a real socket, round after round.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cast::{PARTS, Part, Past, Play};
use super::wire::{self, Identity};
use crate::shell;

/// The user that may not publish to `admin/#`.
pub(super) const USER: &str = "device";
/// Its password.
pub(super) const PASSWORD: &str = "demo";

/// Between two rounds of a device.
const ROUND: Duration = Duration::from_secs(20);
/// Of one that comes back as soon as it can.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Between the first signs of two devices.
const ENTRANCE: Duration = Duration::from_millis(100);

/// Starts them all; they stop when the handle is aborted.
pub(super) fn start(server: SocketAddr) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut devices = JoinSet::new();
        let mut told = "";
        for (number, part) in (1_u8..).zip(&PARTS) {
            // Of a group the first stands for all.
            if part.does != told {
                let _ = tell(part); // the demo goes on also when nobody reads what it says
            }
            told = part.does;
            if matches!(part.play, Play::Away) {
                continue;
            }
            // A network for each, but for those of one site.
            let (network, host) = if matches!(part.past, Past::Site) { (100, number) } else { (number, 1) };
            let address = Ipv4Addr::new(127, 0, network, host);
            devices.spawn(async move {
                loop {
                    // A failed round is the point of most of them; the next one tries again.
                    let _ = play(part, address, server).await;
                    let pause = if matches!(part.play, Play::FallsSilent | Play::Stays) { AT_ONCE } else { ROUND };
                    sleep(pause).await;
                }
            });
            sleep(ENTRANCE).await;
        }
        while devices.join_next().await.is_some() {}
    })
}

fn tell(part: &Part) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let own = shell::own_command();
    if part.name.is_empty() {
        writeln!(out, "  {:<11}{:<40} {own} history --address 127.0.0.1", "(no name)", part.does)?;
    } else {
        writeln!(out, "  {:<11}{:<40} {own} why {}", part.name, part.does, part.name)?;
    }
    out.flush()
}

async fn play(part: &Part, address: Ipv4Addr, server: SocketAddr) -> io::Result<()> {
    let identity = Identity { client_id: part.name, credentials: Some((USER, PASSWORD)), keep_alive_s: 60, address };
    let telemetry = wire::publish(&format!("telemetry/{}", part.name), "7.4 bar");
    match part.play {
        Play::Away => {}
        Play::Stays => {
            let mut stream = wire::join(server, &identity).await?;
            loop {
                stream.write_all(&telemetry).await?;
                sleep(ROUND).await;
            }
        }
        Play::SaysGoodbye => {
            let mut stream = wire::join(server, &identity).await?;
            for _ in 0..3 {
                stream.write_all(&telemetry).await?;
                sleep(Duration::from_secs(1)).await;
            }
            stream.write_all(wire::DISCONNECT).await?;
            wire::until_closed(&mut stream).await;
        }
        Play::WrongPassword => {
            let wrong = Identity { credentials: Some((USER, "guess")), ..identity };
            let mut stream = wire::join(server, &wrong).await?;
            wire::until_closed(&mut stream).await;
        }
        Play::Twins => {
            // Each was thrown out by the other, and comes back.
            let mut old = wire::join(server, &identity).await?;
            for turn in 0_u16.. {
                sleep(Duration::from_secs(3)).await;
                let twin = Identity { keep_alive_s: if turn.is_multiple_of(2) { 75 } else { 60 }, ..identity };
                let new = wire::join(server, &twin).await?;
                wire::until_closed(&mut old).await;
                old = new;
            }
        }
        Play::ForbiddenTopic => {
            and_wait(wire::join(server, &identity).await?, &wire::publish("admin/reboot", "now")).await?;
        }
        Play::FallsSilent => {
            let hasty = Identity { keep_alive_s: 2, ..identity };
            and_wait(wire::join(server, &hasty).await?, &telemetry).await?;
        }
        Play::ClosesWithoutDisconnect => {
            let mut stream = wire::join(server, &identity).await?;
            stream.write_all(&telemetry).await?;
            stream.shutdown().await?;
        }
        Play::Malformed => and_wait(wire::join(server, &identity).await?, wire::MALFORMED).await?,
        Play::Reset => {
            let stream = wire::join(server, &identity).await?;
            sleep(Duration::from_secs(1)).await;
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?; // dropping it now sends RST
        }
        Play::NeverSaysConnect => and_wait(TcpStream::connect(server).await?, &[]).await?,
    }
    Ok(())
}

async fn and_wait(mut stream: TcpStream, last_words: &[u8]) -> io::Result<()> {
    stream.write_all(last_words).await?;
    wire::until_closed(&mut stream).await;
    Ok(())
}
