//! A line in the log for each request, when its answer is through: whoever answers never waits for the log. Lines wait
//! in a queue that is bounded; what finds no room in it is counted, and the next line that is written says so.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Method;
use hyper::body::{Frame, SizeHint};

/// Lines that wait to be written: at 300 bytes each a megabyte.
const LINES_MAX: usize = 4_096;

/// Longer paths are cut: names of clients are shorter.
const PATH_MAX_CHARS: usize = 512;

/// How long a stop waits for lines that are still to be written.
const STOP_MAX: Duration = Duration::from_secs(1);

/// A request and what became of it.
pub(crate) struct Line {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) is_tls: bool,
    pub(crate) method: Method,
    /// Without the query, which names clients and holds signatures.
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) request_id: String,
    pub(crate) begun: Instant,
}

struct Done {
    line: Line,
    bytes: u64,
    /// From the request's head to the answer's last byte.
    took: Duration,
}

/// Where lines go. Gone with the last of those who write to it.
pub(crate) struct AccessLog {
    queue: Option<SyncSender<Done>>,
    /// Hears that the last line is written.
    written: Mutex<Receiver<()>>,
    lost: Arc<AtomicU64>,
}

impl AccessLog {
    pub(crate) fn start() -> std::io::Result<Self> {
        Self::writing(LINES_MAX, write)
    }

    fn writing(lines_max: usize, write: impl Fn(&Done, u64) + Send + 'static) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel::<Done>(lines_max);
        let (end, written) = channel::<()>();
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        thread::Builder::new().name("access-log".into()).spawn(move || {
            let _end = end; // dropped when all is written
            let mut told = 0;
            for line in lines {
                let lost = counted.load(Ordering::Relaxed);
                write(&line, lost.saturating_sub(told));
                told = lost;
            }
        })?;
        Ok(Self { queue: Some(queue), written: Mutex::new(written), lost })
    }

    /// How many lines found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn note(&self, done: Done) {
        let took = self.queue.as_ref().is_some_and(|queue| queue.try_send(done).is_ok());
        if !took {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.queue = None;
        let written = self.written.get_mut().unwrap_or_else(PoisonError::into_inner);
        match written.recv_timeout(STOP_MAX) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => tracing::warn!("the last lines of the access log are not written"),
        }
    }
}

fn write(Done { line, bytes, took }: &Done, lost_before: u64) {
    tracing::info!(
        target: "tracemq::access",
        peer = line.peer.map(|peer| peer.to_string()),
        tls = line.is_tls,
        method = %line.method,
        path = line.path,
        status = line.status,
        bytes,
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        request_id = line.request_id,
        lost_before = (lost_before > 0).then_some(lost_before),
    );
}

/// As much of a path as is written.
pub(crate) fn cut(path: &str) -> String {
    path.chars().take(PATH_MAX_CHARS).collect()
}

/// A body that has its line written when it is through, or given up.
pub(crate) struct Told {
    body: Body,
    bytes: u64,
    line: Option<Line>,
    log: Arc<AccessLog>,
}

impl Told {
    pub(crate) fn body(body: Body, line: Line, log: Arc<AccessLog>) -> Body {
        Body::new(Self { body, bytes: 0, line: Some(line), log })
    }
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            let took = line.begun.elapsed();
            self.log.note(Done { line, bytes: self.bytes, took });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> Line {
        let (method, path) = (Method::GET, path.to_owned());
        let begun = Instant::now();
        Line { peer: None, is_tls: false, method, path, status: 200, request_id: String::new(), begun }
    }

    /// Path, bytes, and how many were lost before.
    type Written = (String, u64, u64);

    /// A log of two places, what was written, and what lets it write one line.
    fn slow_log() -> (Arc<AccessLog>, Receiver<Written>, SyncSender<()>) {
        let (tell, written) = channel();
        let (go_on, turn) = sync_channel(0);
        let log = AccessLog::writing(2, move |Done { line, bytes, .. }, lost| {
            let _ = turn.recv();
            let _ = tell.send((line.path.clone(), *bytes, lost));
        });
        (Arc::new(log.unwrap()), written, go_on)
    }

    #[tokio::test]
    async fn a_line_is_written_when_the_answer_is_through_with_its_bytes_or_when_it_is_given_up() {
        let (log, written, go_on) = slow_log();
        let body = Told::body(Body::from("four"), line("whole"), Arc::clone(&log));
        assert_eq!(body.size_hint().exact(), Some(4), "its length is known as before");
        assert_eq!(axum::body::to_bytes(body, 100).await.unwrap(), "four");
        go_on.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), ("whole".to_owned(), 4, 0));
        drop(Told::body(Body::from("four"), line("given up"), Arc::clone(&log)));
        go_on.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), ("given up".to_owned(), 0, 0));
    }

    #[test]
    fn nobody_waits_for_a_log_that_stands_still_and_what_it_lost_is_told() {
        let (log, written, go_on) = slow_log();
        for number in 0..100 {
            drop(Told::body(Body::empty(), line(&number.to_string()), Arc::clone(&log)));
        }
        // Two wait; one more may have been taken out by then.
        let lost = log.lost();
        assert!((97..=98).contains(&lost), "{lost}");
        let mut told = 0;
        for _ in 0..100 - lost {
            go_on.send(()).unwrap();
            told += written.recv().unwrap().2;
        }
        drop(Told::body(Body::empty(), line("next"), Arc::clone(&log)));
        go_on.send(()).unwrap();
        let (path, _, more) = written.recv().unwrap();
        assert_eq!((path.as_str(), told + more), ("next", lost));
    }

    #[test]
    fn what_waits_is_written_before_the_log_is_gone() {
        let (tell, written) = channel();
        let log = AccessLog::writing(64, move |Done { line, .. }, _| tell.send(line.path.clone()).unwrap()).unwrap();
        let log = Arc::new(log);
        for number in 0..64 {
            drop(Told::body(Body::empty(), line(&number.to_string()), Arc::clone(&log)));
        }
        drop(log);
        assert_eq!(written.try_iter().count(), 64);
    }
}
