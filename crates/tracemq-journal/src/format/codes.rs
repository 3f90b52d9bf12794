//! The numbers that stand for the domain's words on disk. A number is never used again for another word.

use tracemq_model::{Action, GapCause, ProtocolVersion, Provenance, Reason};

macro_rules! codes {
    ($to:ident, $from:ident, $type:ty { $($variant:path = $code:literal,)+ }) => {
        pub(super) fn $to(value: $type) -> u8 {
            match value { $($variant => $code,)+ }
        }

        /// None for a number that this version gives no meaning to.
        pub(super) fn $from(code: u8) -> Option<$type> {
            match code { $($code => Some($variant),)+ _ => None }
        }
    };
}

codes! { action_code, action_of, Action {
    Action::Open = 1,
    Action::Connect = 2,
    Action::Disconnect = 3,
    Action::Close = 4,
} }

codes! { provenance_code, provenance_of, Provenance {
    Provenance::Observed = 1,
    Provenance::Reported = 2,
    Provenance::Inferred = 3,
} }

codes! { protocol_code, protocol_of, ProtocolVersion {
    ProtocolVersion::V31 = 3,
    ProtocolVersion::V311 = 4,
    ProtocolVersion::V5 = 5,
} }

codes! { cause_code, cause_of, GapCause {
    GapCause::QueueFull = 1,
    GapCause::StoreFailed = 2,
    GapCause::NotRunning = 3,
    GapCause::Damaged = 4,
} }

codes! { reason_code, reason_of, Reason {
    Reason::Opened = 1,
    Reason::Accepted = 2,
    Reason::BadCredentials = 3,
    Reason::NotAuthorized = 4,
    Reason::QuotaExceeded = 5,
    Reason::RateLimited = 6,
    Reason::Banned = 7,
    Reason::Kicked = 8,
    Reason::SessionTakenOver = 9,
    Reason::PublishNotAuthorized = 10,
    Reason::SubscribeNotAuthorized = 11,
    Reason::WillNotAuthorized = 12,
    Reason::KeepAliveTimeout = 13,
    Reason::ClientClosed = 14,
    Reason::ClientDisconnected = 15,
    Reason::MalformedPacket = 16,
    Reason::ProtocolError = 17,
    Reason::PacketTooLarge = 18,
    Reason::UnsupportedProtocolVersion = 19,
    Reason::BadClientId = 20,
    Reason::BadTopic = 21,
    Reason::ConnectTimeout = 22,
    Reason::HttpOnMqttPort = 23,
    Reason::TlsOnPlainPort = 24,
    Reason::ConnectionReset = 25,
    Reason::BrokenPipe = 26,
    Reason::NetworkError = 27,
    Reason::TlsFailure = 28,
    Reason::SlowConsumer = 29,
    Reason::ServerShutdown = 30,
    Reason::ServerLost = 31,
    Reason::ServerOverloaded = 32,
    Reason::InternalError = 33,
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back() {
        for reason in Reason::ALL {
            assert_eq!(reason_of(reason_code(*reason)), Some(*reason));
        }
        for cause in GapCause::ALL {
            assert_eq!(cause_of(cause_code(*cause)), Some(*cause));
        }
        for code in 0..=u8::MAX {
            assert!(reason_of(code).is_none_or(|reason| reason_code(reason) == code));
            assert!(action_of(code).is_none_or(|action| action_code(action) == code));
            assert!(provenance_of(code).is_none_or(|provenance| provenance_code(provenance) == code));
            assert!(protocol_of(code).is_none_or(|protocol| protocol_code(protocol) == code));
        }
    }
}
