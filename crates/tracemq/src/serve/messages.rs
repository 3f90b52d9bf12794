//! The way of messages on record: a store and a recorder beside those of connections, made only when messages are chosen.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use tracemq_access::mqtt::TopicFilter;
use tracemq_broker::Broker;
use tracemq_door::{Choice, Messages};
use tracemq_model::{InstanceId, TimeMs};
use tracemq_recorder::Recorder;
use tracemq_segments::{Keep, Retention, Segments};
use tracemq_store::{ByMessage, EventStore};
use tracing::info;

use super::STOP_STAGE_MAX;
use super::server::{age_ms, open_segments, recorder_settings};
use crate::config::Config;

/// The folder of message traces in the data folder; `tracemq store` takes it for `-D`.
const FOLDER: &str = "messages";

/// The store and the recorder.
pub(super) struct MessageTraces {
    segments: Arc<Segments>,
    recorder: Recorder,
}

impl MessageTraces {
    /// From now on what happens to the messages in `brokers` that are chosen goes on record. None when none is: then there is no
    /// folder, no thread and no question a message.
    pub(super) fn start(
        config: &Config,
        brokers: &BTreeMap<InstanceId, Arc<Broker>>,
        wall_clock: fn() -> TimeMs,
    ) -> anyhow::Result<Option<Self>> {
        let messages = &config.trace.messages;
        if !messages.is_on() {
            return Ok(None);
        }
        let retention = Retention {
            bytes: Some(messages.max_bytes),
            each: Keep { age_ms: age_ms(messages.keep_days), bytes: None },
            instances: Vec::new(),
        };
        let folder = config.data_dir.join(FOLDER).join("events");
        let segments = open_segments(&folder, retention).context("can't open the store of message traces")?;
        let store = ByMessage(Arc::clone(&segments) as Arc<dyn EventStore>);
        let recorder = Recorder::start(Arc::new(store), Arc::new(wall_clock), recorder_settings(config))
            .context("can't start the recorder of message traces")?;
        info!(topics = ?messages.topics, sample = messages.sample, "messages are traced");
        let traces = Self { segments, recorder };
        traces.follow(config, brokers, wall_clock)?;
        Ok(Some(traces))
    }

    fn follow(
        &self,
        config: &Config,
        brokers: &BTreeMap<InstanceId, Arc<Broker>>,
        wall_clock: fn() -> TimeMs,
    ) -> anyhow::Result<()> {
        let messages = &config.trace.messages;
        let topics: Result<Vec<_>, _> = messages.topics.iter().map(|filter| TopicFilter::parse(filter)).collect();
        let choice = Choice { topics: topics.context("trace.messages.topics")?, share: messages.sample };
        for (instance, broker) in brokers {
            let clock = Arc::new(wall_clock);
            let tracer = Messages::new(instance.clone(), self.recorder.clone(), clock, choice.clone())?;
            broker.trace_messages(Arc::new(tracer));
        }
        Ok(())
    }

    pub(super) fn for_the_api(&self) -> tracemq_api::MessageRecord {
        let store = Arc::clone(&self.segments) as Arc<dyn EventStore>;
        tracemq_api::MessageRecord { store, recorder: self.recorder.clone() }
    }

    /// Writes what waits. Blocks.
    pub(super) fn stop_recording(&self) {
        let counts = self.recorder.stop(STOP_STAGE_MAX);
        info!(recorded = counts.recorded, lost = counts.lost.total(), "message traces stopped");
    }

    /// Blocks.
    pub(super) fn close(&self) {
        self.segments.close();
    }
}
