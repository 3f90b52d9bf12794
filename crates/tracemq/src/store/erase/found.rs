//! What a store holds of those whose history is to be erased.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use serde_json::{Value, json};
use tracemq_model::{InstanceId, Subject, TimeMs, TimeRange};
use tracemq_segments::{Look, Selection};

use crate::shell;
use crate::store::cannot_look;
use crate::store::progress::Progress;
use crate::store::words::{counted, moment};

/// How often progress is told, in events.
const EVENTS_A_TICK: u64 = 4_096;
/// So many names are told in one sentence.
const NAMED_MAX: usize = 5;

/// What there is of one subject.
pub(super) struct Row {
    pub(super) instance: InstanceId,
    pub(super) subject: Subject,
    pub(super) events: u64,
    /// From the first event to the last one.
    times: Option<TimeRange>,
    /// Hidden by an earlier command, which did not come to its end.
    is_being_erased: bool,
}

impl Row {
    fn is_known(&self) -> bool {
        self.events > 0 || self.times.is_some() || self.is_being_erased
    }

    pub(super) fn told(&self, with_instance: bool) -> String {
        let instance = if with_instance { format!("{}: ", self.instance) } else { String::new() };
        let what = match self.times {
            Some(TimeRange { from, to }) => {
                format!("{} from {} to {}", counted(self.events, "event"), moment(from), moment(to))
            }
            None if self.events > 0 => counted(self.events, "event"),
            None if self.is_being_erased => "erased before; its bytes were still to be removed".into(),
            None => "nothing on record".into(),
        };
        format!("{instance}{}: {what}", name(&self.subject))
    }

    pub(super) fn json(&self) -> Value {
        let mut object = json_of(&self.subject);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("instance".into(), self.instance.as_str().into());
            fields.insert("events".into(), self.events.into());
            fields.insert("from".into(), self.times.map(|times| times.from.0).into());
            fields.insert("to".into(), self.times.map(|times| times.to.0).into());
            fields.insert("erased_before".into(), self.is_being_erased.into());
        }
        object
    }
}

/// What there is of all of them.
pub(super) struct Found {
    /// Of each instance.
    pub(super) rows: Vec<Row>,
    /// All that were asked for.
    subjects: Vec<Subject>,
    /// Of the whole store.
    bytes_an_event: f64,
}

impl Found {
    /// Goes through the store.
    pub(super) fn in_store(look: &Look, instances: &[InstanceId], subjects: &[Subject]) -> anyhow::Result<Self> {
        let mut rows = Vec::new();
        let mut places: HashMap<(InstanceId, Subject), usize> = HashMap::new();
        for instance in instances {
            for subject in subjects {
                let (instance, subject) = (instance.clone(), subject.clone());
                let is_being_erased = look.is_being_erased(&instance, &subject);
                places.insert((instance.clone(), subject.clone()), rows.len());
                rows.push(Row { instance, subject, events: 0, times: None, is_being_erased });
            }
        }
        let progress = Progress::of_events("looking", 0);
        let mut seen: u64 = 0;
        let selection =
            Selection { instances: instances.to_vec(), subjects: subjects.to_vec(), ..Selection::default() };
        let mut look_up = |instance: &InstanceId, subject: Subject, time: TimeMs| {
            let place = places.get(&(instance.clone(), subject));
            let Some(row) = place.and_then(|place| rows.get_mut(*place)) else { return };
            let times = row.times.get_or_insert(TimeRange { from: time, to: time });
            (times.from, times.to) = (times.from.min(time), times.to.max(time));
            row.events += 1;
        };
        // Without any, all of them would be selected.
        if !instances.is_empty() {
            let scanned = look.scan(&selection, &mut |event| {
                if let Some(subject) = Subject::of(event) {
                    look_up(&event.instance, subject, event.time);
                }
                seen += 1;
                if seen.is_multiple_of(EVENTS_A_TICK) {
                    progress.set(seen);
                }
                ControlFlow::Continue(())
            });
            scanned.map_err(cannot_look)?;
        }
        Ok(Self { rows, subjects: subjects.to_vec(), bytes_an_event: bytes_an_event(look) })
    }

    /// Whether there is anything to erase, or to go on with.
    pub(super) fn is_any(&self) -> bool {
        self.rows.iter().any(Row::is_known)
    }

    /// Whether it has to be said of which instance something is.
    pub(super) fn has_instances(&self) -> bool {
        self.rows.iter().any(|row| self.rows.first().is_some_and(|first| first.instance != row.instance))
    }

    pub(super) fn events(&self) -> u64 {
        self.rows.iter().map(|row| row.events).sum()
    }

    /// About what the events take.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an estimate, which is not negative"
    )]
    pub(super) fn bytes(&self) -> u64 {
        (self.events() as f64 * self.bytes_an_event) as u64
    }

    /// `3 clients`, or `2 clients and addresses`.
    pub(super) fn whose(&self) -> String {
        let known = self.rows.iter().filter(|row| row.is_known());
        let number = known.clone().count() as u64;
        let clients = known.filter(|row| matches!(row.subject, Subject::Client(_))).count() as u64;
        match (clients, number - clients) {
            (_, 0) => counted(clients, "client"),
            (0, 1) => "1 address".into(),
            (0, addresses) => format!("{addresses} addresses"),
            (clients, 1) => format!("{} and 1 address", counted(clients, "client")),
            (clients, addresses) => format!("{} and {addresses} addresses", counted(clients, "client")),
        }
    }

    /// Those of whom there is nothing, in none of the instances.
    pub(super) fn missing(&self) -> Vec<&Subject> {
        let known: HashSet<&Subject> = self.rows.iter().filter(|row| row.is_known()).map(|row| &row.subject).collect();
        self.subjects.iter().filter(|subject| !known.contains(subject)).collect()
    }
}

/// The name as one word of a shell, or what stands for it.
pub(super) fn name(subject: &Subject) -> String {
    match subject {
        // Names may have been chosen by anybody.
        Subject::Client(client) => shell::quoted(client.as_str()).into_owned(),
        Subject::Address(address) => format!("connections from {address} that named no client"),
        Subject::Message(id) => format!("the message {id}"),
    }
}

/// The first of the names, and how many there are beside them.
pub(super) fn named(subjects: &[&Subject]) -> String {
    let names: Vec<String> = subjects.iter().take(NAMED_MAX).map(|subject| name(subject)).collect();
    let told = names.join(", ");
    match subjects.len().saturating_sub(NAMED_MAX) {
        0 => told,
        more => format!("{told} and {}", counted(more as u64, "other")),
    }
}

/// In words of JSON.
pub(super) fn json_of(subject: &Subject) -> Value {
    match subject {
        Subject::Client(client) => json!({"client": client.as_str()}),
        Subject::Address(address) => json!({"address": address.to_string()}),
        Subject::Message(id) => json!({"message": id.to_string()}),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for an estimate")]
fn bytes_an_event(look: &Look) -> f64 {
    let figures = look.figures();
    if figures.events == 0 { 0.0 } else { figures.bytes as f64 / figures.events as f64 }
}
