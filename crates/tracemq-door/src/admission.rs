//! Turns a CONNECT's credentials into the broker's decision.

use std::sync::Arc;

use tracemq_access::mqtt::{ConnectVerdict, MqttAccess, TopicRules};
use tracemq_broker::{ConnectAttempt, Decision, Permissions};
use tracemq_model::Reason;

struct Granted(Arc<TopicRules>);

impl Permissions for Granted {
    fn may_publish(&self, topic: &str) -> bool {
        self.0.may_publish(topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.0.may_subscribe(filter)
    }

    fn may_receive(&self, topic: &str) -> bool {
        self.0.may_subscribe(topic) // a topic is a filter that matches itself
    }

    fn generation(&self) -> u64 {
        0 // rules are read at the start and stay
    }
}

/// Decides whether `attempt` is let in; `proven` is the user that the client's certificate names. The detail of a refusal says what would change it, never what was given.
pub(crate) fn decide(access: &MqttAccess, attempt: &ConnectAttempt, proven: Option<&str>) -> Decision {
    let verdict = match proven {
        Some(user) => access.decide_proven(user),
        None => access.decide(attempt.username.as_deref(), attempt.password.as_deref()),
    };
    match verdict {
        ConnectVerdict::Admitted(rules) => Decision::Admit { permissions: Arc::new(Granted(rules)) },
        ConnectVerdict::BadCredentials if proven.is_some() => Decision::Refuse {
            reason: Reason::NotAuthorized,
            detail: Some("the common name of the client's certificate is no user".into()),
        },
        ConnectVerdict::BadCredentials => {
            Decision::Refuse { reason: Reason::BadCredentials, detail: Some("unknown user or wrong password".into()) }
        }
        ConnectVerdict::CredentialsRequired => Decision::Refuse {
            reason: Reason::NotAuthorized,
            detail: Some("no user name was given, and anonymous clients are not let in".into()),
        },
    }
}
