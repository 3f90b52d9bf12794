//! What an answer consists of.

use std::collections::BTreeMap;
use std::fmt;

use tracemq_model::{Event, TimeMs};

/// The most events that a verdict shows; of more the newest.
pub const EVIDENCE_MAX: usize = 20;

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)+) => {
        /// Why a device drops. Each has a stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause {
            $($(#[$doc])* $variant,)+
        }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable code, `kebab-case`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

causes! {
    /// Two devices or programs have one client identifier, and end each other's connections.
    TwoDevicesOneId = "two-devices-one-id";
    /// One device takes over its own connection, which was dead without anybody's knowing.
    OwnTakeover = "own-takeover";
    /// Something in the path forgets connections that are silent for a while, and the keep alive is longer than that.
    IdleTimeoutInPath = "idle-timeout-in-path";
    /// The client does not send the pings that it promised.
    KeepAliveNotHonoured = "keep-alive-not-honoured";
    /// It drops at a constant period: the life of a token, a lease, a watchdog.
    FixedPeriod = "fixed-period";
    /// The server refuses its credentials.
    BadCredentials = "bad-credentials";
    /// Its certificate has expired.
    CertificateExpired = "certificate-expired";
    /// Its certificate will expire soon.
    CertificateExpiring = "certificate-expiring";
    /// It asks for a topic that it may not have, and is sent away for it.
    TopicRefused = "topic-refused";
    /// It breaks a rule of MQTT or a limit, and is sent away for it.
    ClientFault = "client-fault";
    /// The server ended it, or everybody dropped together.
    ServerSide = "server-side";
    /// Its network dropped together, while others stayed.
    NetworkOfSubnet = "network-of-subnet";
    /// It comes and goes often, and nothing that is on record says why.
    Flapping = "flapping";
    /// Nothing is wrong.
    Healthy = "healthy";
    /// What is on record does not suffice for any other verdict.
    NotEnoughEvidence = "not-enough-evidence";
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Confidence {
    /// It explains what is on record; so does something else.
    Possible,
    /// Little else explains what is on record.
    Likely,
    /// Nothing else that is known explains what is on record.
    Certain,
}

impl Confidence {
    /// `possible`, `likely` or `certain`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }

    /// One step weaker, if there is one.
    #[must_use]
    pub fn lowered(self) -> Self {
        match self {
            Self::Possible | Self::Likely => Self::Possible,
            Self::Certain => Self::Likely,
        }
    }
}

/// Something that a sentence is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A number; its unit is the end of its name (`period_s`, `drops_per_day`).
    Number(u64),
    /// A code, a name, an address.
    Text(String),
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Fact {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A cause that something spoke for, and that it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuledOut {
    /// Which.
    pub cause: Cause,
    /// What speaks against it.
    pub because: String,
}

/// One thing that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it is.
    pub cause: Cause,
    /// How sure that is.
    pub confidence: Confidence,
    /// It as one or two sentences, in English.
    pub sentence: String,
    /// What the sentence is made of, so that it can be said in other words.
    pub facts: BTreeMap<&'static str, Fact>,
    /// Since when it holds, as far as the record goes.
    pub since: Option<TimeMs>,
    /// The events that prove it, oldest first; the newest [`EVIDENCE_MAX`] of them.
    pub evidence: Vec<Event>,
    /// What else it might have been, and why it is not.
    pub ruled_out: Vec<RuledOut>,
    /// What to do.
    pub advice: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What explains most of what is on record.
    pub verdict: Verdict,
    /// What holds as well, the weaker ones last.
    pub others: Vec<Verdict>,
}
