//! The handle that the connection path holds.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracemq_model::{Event, Gap, Reason, TimeMs};
use tracemq_store::{EventStore, StoreError};

use crate::queue::Queue;
use crate::seen::Seen;
use crate::start::settle_last_run;
use crate::writer::Writer;
use crate::{Recent, RecorderCounts, RecorderSettings};

/// Tells what time it is, wall-clock.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// Takes events and never waits for the store. Cheap to clone: all clones are the same recorder.
///
/// When the last clone is dropped without a [`Recorder::stop`], the thread behind it drains the queue by itself.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// None when recording is switched off.
    running: Option<Arc<Running>>,
    seen: Arc<Seen>,
}

struct Running {
    queue: Arc<Queue>,
    recent: Arc<Recent>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("counts", &self.queue.counts()).finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Recorder {
    /// Closes the connections that the last run left open, writes down the gap since that run when there was one, then
    /// starts the thread that writes to `store`.
    ///
    /// # Errors
    /// When the store can't be asked for, or does not take, what the last run left; [`StoreError::Io`] also when no
    /// thread can be started.
    #[expect(clippy::needless_pass_by_value, reason = "the settings become the recorder's own")]
    pub fn start(store: Arc<dyn EventStore>, clock: Clock, settings: RecorderSettings) -> Result<Self, StoreError> {
        settle_last_run(&*store, clock(), settings.batch_events_max)?;
        let queue = Arc::new(Queue::new(settings.clone()));
        let recent = Arc::new(Recent::default());
        let writer = Writer::new(Arc::clone(&queue), store, clock, Arc::clone(&recent));
        let thread =
            thread::Builder::new().name("recorder".to_owned()).spawn(move || writer.run()).map_err(|source| {
                StoreError::Io { operation: "start", path: PathBuf::from("the recorder's thread"), source }
            })?;
        Ok(Self {
            running: Some(Arc::new(Running { queue, recent, thread: Mutex::new(Some(thread)) })),
            seen: Arc::default(),
        })
    }

    /// A recorder that drops everything, and counts it as neither recorded nor lost: recording is switched off.
    pub fn off() -> Self {
        Self { running: None, seen: Arc::default() }
    }

    /// Hands `event` over: queued, or counted as lost when the queue is at its bound or the recorder has stopped.
    /// Never waits for the store.
    pub fn record(&self, event: Event) {
        self.seen.note(&event);
        if let Some(running) = &self.running {
            running.queue.push(event);
        }
    }

    /// What became of the events so far.
    pub fn counts(&self) -> RecorderCounts {
        self.running.as_ref().map(|running| running.queue.counts()).unwrap_or_default()
    }

    /// How many connections a CONNACK let in since the start, recorded or not.
    pub fn connects(&self) -> u64 {
        self.seen.connects()
    }

    /// How many connections ended since the start for each reason, recorded or not. Ends of an earlier run that were found out
    /// later are not among them.
    pub fn ends(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.seen.ends()
    }

    /// Whether recording is switched off.
    pub fn is_off(&self) -> bool {
        self.running.is_none()
    }

    /// The losses that the store may not know of yet, at most two spans for each cause: answers from the store are
    /// incomplete there too. A loss is here until after the store has taken it, so that one who asks here first and
    /// the store then finds each at least once.
    pub fn pending_gaps(&self) -> Vec<Gap> {
        self.running.as_ref().map(|running| running.queue.pending_gaps()).unwrap_or_default()
    }

    /// The newest durable events, for those who look on; none when recording is switched off.
    pub fn recent(&self) -> Option<Arc<Recent>> {
        self.running.as_ref().map(|running| Arc::clone(&running.recent))
    }

    /// Waits, at most for `deadline`, until everything that was handed over before is durable or counted as lost.
    /// False when that took too long. Blocks: not for the connection path.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.running.as_ref().is_none_or(|running| running.queue.flush(deadline))
    }

    /// Takes in nothing more, waits at most for `deadline` until what is queued is written, and ends the thread, which
    /// lets go of the store. What is not written by then counts as lost, but for the batch that the store is busy with:
    /// that stays queued until the store answers. Events handed over later count as lost. Blocks.
    pub fn stop(&self, deadline: Duration) -> RecorderCounts {
        let Some(running) = &self.running else { return RecorderCounts::default() };
        running.queue.close();
        if running.queue.await_end(deadline) {
            let thread = running.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The writer has said that it is done, so that this does not wait; and it has settled its accounts even if
            // it panicked, so that there is nothing to learn from that here.
            let _ = thread.map(JoinHandle::join);
        }
        running.queue.counts()
    }
}
