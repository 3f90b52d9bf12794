//! Wills on their way out.

use std::sync::Arc;

use tracemq_model::{ClientId, ConnectionId};

use super::attach::Newcomer;
use super::{Broker, Counters};
use crate::keeping::Change;
use crate::limits::Tick;
use crate::link::Permissions;
use crate::packet::Message;
use crate::session::{PendingWill, Session, State, Wakes};

/// A will to be published once the lock is released.
pub(super) struct Will {
    pub(super) session: u64,
    /// None where that is not known any more.
    pub(super) client: Option<ClientId>,
    pub(super) connection: Option<ConnectionId>,
    pub(super) message: Arc<Message>,
    pub(super) permissions: Arc<dyn Permissions>,
    /// The number under which it is kept until then; 0 when it is not.
    pub(super) kept: u64,
}

impl Will {
    /// The one that waited in a session.
    pub(super) fn of(session: &Session, state: &mut State, will: PendingWill) -> Self {
        let PendingWill { message, permissions, .. } = will;
        let client = Some(session.client.clone());
        Self { session: session.number, client, connection: None, message, permissions, kept: state.release_will() }
    }
}

impl Broker {
    /// Keeps the will of a client that comes, if its session is kept: should the process be killed, its client is gone too.
    pub(super) fn keep_will(&self, state: &mut State, newcomer: &Newcomer<'_>, keepsake: Option<String>) {
        if let Some(will) = newcomer.will.filter(|_| state.is_kept()) {
            state.keep_will(self.next_message(), will, keepsake, None);
        }
    }

    /// Publishes it, if that is still allowed: it may have been withdrawn since CONNECT.
    pub(super) fn publish_will(&self, now: Tick, will: &Will) {
        let publish = || {
            let Message { topic, qos, retain, .. } = &*will.message;
            if will.permissions.may_publish(topic, qos.code(), *retain) {
                let mut message = Message::clone(&will.message);
                self.begin_trace(&mut message, will.client.as_ref(), will.connection);
                self.publish(now, will.session, message, None, &mut Wakes::default());
            } else {
                Counters::add(&self.counters.dropped, 1);
            }
        };
        let Some(keeper) = self.keeper().filter(|_| will.kept != 0) else { return publish() };
        // Together: whenever the process is killed, it was published or still will be.
        keeper.together(&mut || {
            publish();
            keeper.keep(vec![Change::Will(will.kept, None)]);
        });
    }
}
