//! What is asked, out of what was typed: whose history, and of which time.

use std::net::IpAddr;

use jiff::Zoned;
use tracemq_api::rest::time_words;
use tracemq_model::TimeMs;

use super::clock::Clock;
use super::hints;
use crate::cli::HistoryArgs;
use crate::exit::{Ended, Ending};

/// Whose history.
#[derive(Clone)]
pub(super) enum Subject {
    Client(String),
    Address(IpAddr),
}

/// What is asked.
pub(super) struct Question {
    pub(super) subject: Subject,
    pub(super) instance: Option<String>,
    pub(super) since: Option<TimeMs>,
    pub(super) until: Option<TimeMs>,
    pub(super) asked_at: TimeMs,
}

impl Question {
    /// The question that `args` put when it is `now`.
    ///
    /// # Errors
    /// When a time means nothing, or no time lies between the two.
    pub(super) fn of(args: &HistoryArgs, now: &Zoned, clock: &Clock) -> Result<Self, Ended> {
        let subject = match (&args.client_id, args.address) {
            (_, Some(address)) => Subject::Address(address),
            (Some(id), None) => Subject::Client(id.clone()),
            (None, None) => Subject::Client(String::new()), // clap asks for one of them
        };
        let until = args.until.as_deref().map(|text| time("--until", text, now, now)).transpose()?;
        let latest_since = time_words::latest_start(until.as_ref(), now);
        let since = args.since.as_deref().map(|text| time("--since", text, now, &latest_since)).transpose()?;
        if let Some(since) = &since {
            let told = |time: &Zoned| clock.tell(time.timestamp().as_millisecond());
            if since > now {
                return Err(usage(format!("--since: {} is in the future", told(since))));
            }
            if let Some(until) = until.as_ref().filter(|until| since > *until) {
                return Err(usage(format!("--since, {}, is after --until, {}", told(since), told(until))));
            }
        }
        let ms = |time: &Zoned| TimeMs(time.timestamp().as_millisecond());
        Ok(Self {
            subject,
            instance: args.instance.clone(),
            since: since.as_ref().map(ms),
            until: until.as_ref().map(ms),
            asked_at: ms(now),
        })
    }

    pub(super) fn has_range(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// The same of all of time.
    pub(super) fn of_all_time(&self) -> Self {
        Self { since: None, until: None, subject: self.subject.clone(), instance: self.instance.clone(), ..*self }
    }

    /// The subject as a word of a sentence, safe to look at.
    pub(super) fn name(&self) -> String {
        match &self.subject {
            Subject::Client(id) => hints::word(id),
            Subject::Address(address) => address.to_string(),
        }
    }
}

fn time(flag: &str, text: &str, now: &Zoned, latest: &Zoned) -> Result<Zoned, Ended> {
    time_words::parse(text, now, latest).map_err(|error| usage(format!("{flag}: {error}")))
}

fn usage(what: String) -> Ended {
    Ended { ending: Ending::Usage, what, next: "more about times: tracemq history --help".into() }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use jiff::Timestamp;

    use super::*;
    use crate::cli::{Cli, Command};

    fn asked(flags: &[&str]) -> Result<(Option<String>, Option<String>), Ended> {
        let now: Zoned = "2026-11-22T14:00:30+08:00[Asia/Shanghai]".parse().unwrap();
        let words = ["tracemq", "history", "pump-07"].iter().chain(flags);
        let Command::History(args) = Cli::try_parse_from(words).unwrap().command else { unreachable!() };
        let clock = Clock::of_table(now.time_zone().clone());
        let told = |ms: TimeMs| Timestamp::from_millisecond(ms.0).unwrap().to_string();
        Question::of(&args, &now, &clock).map(|question| (question.since.map(told), question.until.map(told)))
    }

    #[test]
    fn a_time_of_day_is_the_latest_that_fits() {
        for (flags, since, until) in [
            (&["-S", "10:30"][..], Some("2026-11-22T02:30:00Z"), None),
            (&["-S", "22:00"], Some("2026-11-21T14:00:00Z"), None),
            (&["-S", "22:00", "-U", "06:00"], Some("2026-11-21T14:00:00Z"), Some("2026-11-21T22:00:00Z")),
            (&["-S", "10:30", "-U", "10:00"], Some("2026-11-21T02:30:00Z"), Some("2026-11-22T02:00:00Z")),
            (&["-S", "10:30", "-U", "10:30"], Some("2026-11-21T02:30:00Z"), Some("2026-11-22T02:30:00Z")),
            (&["-S", "10:30", "-U", "2026-11-02"], Some("2026-11-01T02:30:00Z"), Some("2026-11-01T16:00:00Z")),
            (&["-S", "15:00", "-U", "2030-01-01"], Some("2026-11-21T07:00:00Z"), Some("2029-12-31T16:00:00Z")),
            (&["-S", "yesterday", "-U", "10:30"], Some("2026-11-20T16:00:00Z"), Some("2026-11-22T02:30:00Z")),
        ] {
            let expected = (since.map(str::to_owned), until.map(str::to_owned));
            assert_eq!(asked(flags).unwrap(), expected, "{flags:?}");
        }
    }

    #[test]
    fn a_range_that_can_hold_nothing_is_refused() {
        let said = asked(&["-S", "2026-11-22T14:00:31"]).unwrap_err().what;
        assert_eq!(said, "--since: 2026-11-22 14:00:31.000 is in the future");
        let said = asked(&["-S", "1h", "-U", "2h"]).unwrap_err().what;
        assert_eq!(said, "--since, 2026-11-22 13:00:30.000, is after --until, 2026-11-22 12:00:30.000");
        assert!(asked(&["-S", "now", "-U", "now"]).is_ok(), "both are included");
    }
}
