//! Pretend devices: histories whose cause is known.
//!
//! Each is played: a device with its habits (keep alive, how often it publishes, how long it waits before it comes back), a path
//! with its faults, and what the server sees of both. The demo shows them, and verdicts are held against them. Nothing here knows how a
//! verdict is found.

mod device;
mod dice;
mod plot;
mod plots;

pub use device::{Connected, Device, Ending};
pub use dice::Dice;
pub use plot::{Others, Plot, Story};

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tracemq_model::{ClientId, InstanceId};

    use super::*;

    const FROM: i64 = 1_795_000_000_000;
    const DAY: i64 = 86_400_000;

    #[test]
    fn every_story_is_a_history_that_could_have_been() {
        let (client, instance) = (ClientId::new("pump").unwrap(), InstanceId::new("mqtt").unwrap());
        for plot in Plot::ALL {
            for seed in 0..200 {
                let story = plot.story(&client, &instance, FROM, FROM + DAY, seed);
                assert!(!story.events.is_empty(), "{plot:?} {seed}");
                let mut ends = HashMap::new();
                for event in &story.events {
                    assert!((FROM..=FROM + DAY).contains(&event.time.0), "{plot:?} {seed}: {event:?}");
                    *ends.entry(event.connection).or_insert(0) += i32::from(event.action.is_end());
                    let silent = event.details.traffic.and_then(|traffic| traffic.last_in_age_ms);
                    assert!(silent <= event.details.duration_ms, "{plot:?} {seed}: {event:?}");
                }
                assert!(ends.values().all(|ends| *ends <= 1), "{plot:?} {seed}");
                assert!(ends.values().filter(|ends| **ends == 0).count() <= 1, "{plot:?} {seed}: one is open at most");
                assert!(story.events.windows(2).all(|pair| pair[0].time <= pair[1].time));
                let again = plot.story(&client, &instance, FROM, FROM + DAY, seed);
                assert_eq!(story.events, again.events, "the same each time");
            }
        }
    }
}
