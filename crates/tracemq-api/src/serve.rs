//! HTTP/1.1 on a listener, plain or over TLS, with a bound on everything that a peer could hold on to: connections, header bytes, and the
//! time that a handshake, headers, an idle connection and an unread answer may take. (The body's bounds are its readers'.)

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::{debug, warn};

use crate::audit::{Peer, Way};

/// What a handshake leaves.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A handshake under way.
pub type Shaking = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// The server's end of a TLS handshake. What TLS is made of is not known here.
pub type Handshake = Arc<dyn Fn(TcpStream) -> Shaking + Send + Sync>;

/// Where connections come from, and what is done before the first byte of HTTP.
pub struct Door {
    listener: TcpListener,
    handshake: Option<Handshake>,
    failed: Arc<AtomicU64>,
}

impl From<TcpListener> for Door {
    /// Plain HTTP.
    fn from(listener: TcpListener) -> Self {
        Self { listener, handshake: None, failed: Arc::default() }
    }
}

impl Door {
    /// HTTP over TLS.
    pub fn tls(listener: TcpListener, handshake: Handshake) -> Self {
        Self { listener, handshake: Some(handshake), failed: Arc::default() }
    }

    /// How many handshakes failed, or took too long.
    pub fn failed_handshakes(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let failed = Arc::clone(&self.failed);
        Arc::new(move || failed.load(Ordering::Relaxed))
    }
}

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Connections open at once; others wait in the system's backlog. Far more than pollers of one API need.
    pub connections_max: usize,
    /// How long a TLS handshake may take; it holds one of the connections all the while.
    pub handshake_timeout: Duration,
    /// How long a request's headers may take, counted from the connection's start or the last answer: also how long
    /// a connection may idle. Above the 25 s for which SDKs keep one.
    pub headers_timeout: Duration,
    /// How long a peer may leave an answer unread.
    pub write_timeout: Duration,
    /// How long answers under way may take when told to stop.
    pub drain_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            handshake_timeout: Duration::from_secs(10),
            headers_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// The most bytes of a request's line and headers.
const HEADER_MAX_BYTES: usize = 32_768;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;

/// Serves `router` at `door` until `shutdown`, then lets answers under way finish.
pub async fn serve(door: impl Into<Door>, router: Router, shutdown: impl Future) {
    serve_within(ServeLimits::default(), door, router, shutdown).await;
}

/// As [`serve`], with other bounds.
pub async fn serve_within(limits: ServeLimits, door: impl Into<Door>, router: Router, shutdown: impl Future) {
    let Door { listener, handshake, failed } = door.into();
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            _ = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (slot, accepted) = accepted => match (slot, accepted) {
                (Ok(slot), Ok((stream, peer))) => {
                    let (handshake, failed) = (handshake.clone(), Arc::clone(&failed));
                    let serving = connection(limits, stream, peer, handshake, router.clone(), stopped.clone());
                    connections.spawn(async move {
                        if serving.await.is_err() {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                        drop(slot);
                    });
                }
                (_, Err(error)) => {
                    // Mostly no free descriptors, which takes a moment to mend.
                    warn!(%error, "can't accept an HTTP connection");
                    sleep(Duration::from_millis(100)).await;
                }
                (Err(_), Ok(_)) => break,
            },
        }
    }
    drop(listener);
    drop(stop);
    let drained = timeout(limits.drain_timeout, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        debug!(left = connections.len(), "HTTP connections broken off at the end");
    }
}

async fn connection(
    limits: ServeLimits,
    stream: TcpStream,
    address: SocketAddr,
    handshake: Option<Handshake>,
    router: Router,
    mut stopped: watch::Receiver<()>,
) -> Result<(), NoHandshake> {
    let _ = stream.set_nodelay(true);
    let came = |way| router.layer(Extension(Peer { address, way }));
    let Some(handshake) = handshake else {
        http(limits, stream, came(Way::Plain), stopped).await;
        return Ok(());
    };
    let shaken = tokio::select! {
        shaken = timeout(limits.handshake_timeout, shake_hands(stream, &handshake)) => shaken,
        _ = stopped.changed() => return Ok(()),
    };
    match shaken {
        Ok(Ok(Shaken::Tls(stream))) => http(limits, stream, came(Way::Tls), stopped).await,
        Ok(Ok(Shaken::Plain(stream))) => http(limits, stream, came(Way::PlainOnTlsPort), stopped).await,
        Ok(Err(error)) => {
            debug!(%error, peer = %address, "TLS handshake failed");
            return Err(NoHandshake);
        }
        Err(_) => {
            debug!(peer = %address, "TLS handshake took too long");
            return Err(NoHandshake);
        }
    }
    Ok(())
}

/// It did not come as far as HTTP.
struct NoHandshake;

enum Shaken {
    Tls(Box<dyn Stream>),
    Plain(TcpStream),
}

/// Tells who speaks plain HTTP by the first byte, so that they can be answered in words.
async fn shake_hands(stream: TcpStream, handshake: &Handshake) -> io::Result<Shaken> {
    let mut first = [0; 1];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if first == [HANDSHAKE] => handshake(stream).await.map(Shaken::Tls),
        _ => Ok(Shaken::Plain(stream)),
    }
}

async fn http<S: Stream>(limits: ServeLimits, stream: S, router: Router, mut stopped: watch::Receiver<()>) {
    let stream = ImpatientWriter { stream, patience: limits.write_timeout, waiting: None };
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_timeout)
        .max_header_size(HEADER_MAX_BYTES)
        .max_buf_size(2 * HEADER_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stopped.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "HTTP connection ended");
    }
}

/// A stream that fails when nothing can be written for too long: a peer that does not read would hold it for good.
struct ImpatientWriter<S> {
    stream: S,
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> ImpatientWriter<S> {
    fn waited<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: Stream> AsyncRead for ImpatientWriter<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Stream> AsyncWrite for ImpatientWriter<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.waited(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of TLS, what was taken as written may still be here.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.waited(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.waited(cx, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.waited(cx, written)
    }
}
