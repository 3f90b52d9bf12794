//! The pretend devices. Each plays one way to live or to drop, over a real socket, round after round.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ROUND;
use super::wire::{self, Identity};

/// The user that may not publish to `admin/#`.
pub(super) const USER: &str = "device";
/// Its password.
pub(super) const PASSWORD: &str = "demo";

/// How many there are.
pub(super) const COUNT: usize = PARTS.len();

/// A device's name, what it does, and the reason that the record will show.
struct Part {
    name: &'static str,
    does: &'static str,
    reason: &'static str,
    play: Play,
}

enum Play {
    Healthy,
    WrongPassword,
    Twins,
    ForbiddenTopic,
    FallsSilent,
    ClosesWithoutDisconnect,
    Malformed,
    Reset,
    NeverSaysConnect,
}

const PARTS: [Part; 9] = [
    Part { name: "pump-01", does: "reports and says goodbye", reason: "client-disconnected", play: Play::Healthy },
    Part { name: "pump-02", does: "has the wrong password", reason: "bad-credentials", play: Play::WrongPassword },
    Part {
        name: "pump-03",
        does: "has a twin with the same client id",
        reason: "session-taken-over",
        play: Play::Twins,
    },
    Part {
        name: "pump-04",
        does: "publishes where it may not",
        reason: "publish-not-authorized",
        play: Play::ForbiddenTopic,
    },
    Part {
        name: "pump-05",
        does: "falls silent past its keep alive",
        reason: "keep-alive-timeout",
        play: Play::FallsSilent,
    },
    Part {
        name: "pump-06",
        does: "closes without a DISCONNECT",
        reason: "client-closed",
        play: Play::ClosesWithoutDisconnect,
    },
    Part { name: "pump-07", does: "sends a packet that is none", reason: "malformed-packet", play: Play::Malformed },
    Part { name: "pump-08", does: "loses its network", reason: "connection-reset", play: Play::Reset },
    Part {
        name: "",
        does: "connects and never says who it is",
        reason: "connect-timeout",
        play: Play::NeverSaysConnect,
    },
];

/// Starts them all; they stop when the handle is aborted.
pub(super) fn start(server: SocketAddr) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut devices = JoinSet::new();
        for part in &PARTS {
            let _ = tell(part); // the demo goes on also when nobody reads what it says
            devices.spawn(async move {
                loop {
                    // A failed round is the point of most of them; the next one tries again.
                    let _ = play(part, server).await;
                    sleep(ROUND).await;
                }
            });
            sleep(Duration::from_millis(300)).await;
        }
        while devices.join_next().await.is_some() {}
    })
}

fn tell(part: &Part) -> io::Result<()> {
    let whom = if part.name.is_empty() { "--address 127.0.0.1" } else { part.name };
    let mut out = io::stdout().lock();
    writeln!(out, "  {whom:<24} {:<36} {}", part.does, part.reason)?;
    out.flush()
}

async fn play(part: &Part, server: SocketAddr) -> io::Result<()> {
    let identity = Identity { client_id: part.name, credentials: Some((USER, PASSWORD)), keep_alive_s: 60 };
    let telemetry = wire::publish(&format!("telemetry/{}", part.name), "7.4 bar");
    match part.play {
        Play::Healthy => {
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
            let mut first = wire::join(server, &identity).await?;
            sleep(Duration::from_secs(1)).await;
            let mut second = wire::join(server, &identity).await?;
            wire::until_closed(&mut first).await;
            second.write_all(wire::DISCONNECT).await?;
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
