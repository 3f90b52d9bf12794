//! Verdicts about histories whose cause is known. They are played by another crate, which knows nothing of the rules.

use std::collections::BTreeMap;

use tracemq_model::{ClientId, InstanceId, TimeMs};
use tracemq_stories::{Plot, Story};
use tracemq_why::{Around, Case, Cause, Surroundings, judge};

const NOW: i64 = 1_795_334_400_000;
const DAY: i64 = 86_400_000;
/// Of each plot.
const STORIES: u64 = 30;

fn surroundings(story: &Story) -> Surroundings {
    let newest = story.events.iter().rev().find(|event| event.action.is_end());
    let around = newest.map(|end| Around {
        connection: end.connection,
        dropped: story.others.dropped,
        usually_dropped: 1,
        stayed: story.others.stayed,
        subnet_dropped: story.others.subnet_dropped,
        subnet_stayed: story.others.subnet_stayed,
        ended_by_server: 0,
        is_partial: false,
    });
    Surroundings { around: around.into_iter().collect(), nameless: story.nameless.clone() }
}

fn verdict(story: &Story) -> (Cause, String) {
    let surroundings = surroundings(story);
    let case = Case { events: &story.events, gaps: &story.gaps, surroundings: &surroundings, now: TimeMs(NOW) };
    let verdict = judge(&case).verdict;
    (verdict.cause, verdict.sentence)
}

#[test]
fn verdicts_are_right_in_95_of_100_stories_and_rarely_wrong() {
    let (client, instance) = (ClientId::new("pump-07").unwrap(), InstanceId::new("mqtt").unwrap());
    let (mut right, mut unsure, mut all) = (0, 0, 0);
    let mut table: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for plot in Plot::ALL {
        for seed in 0..STORIES {
            let story = plot.story(&client, &instance, NOW - DAY, NOW, seed);
            let (cause, sentence) = verdict(&story);
            *table.entry(plot.cause()).or_default().entry(cause.code()).or_default() += 1;
            all += 1;
            if cause.code() == plot.cause() {
                right += 1;
            } else {
                unsure += usize::from(cause == Cause::NotEnoughEvidence);
                println!("{plot:?} {seed}: {cause}: {sentence}");
            }
        }
    }
    for (cause, verdicts) in &table {
        println!("{cause:24} {verdicts:?}");
    }
    let wrong = all - right - unsure;
    println!("{right} of {all} right, {unsure} not enough evidence, {wrong} wrong");
    assert!(all >= 200 && right * 100 >= all * 95, "{right} of {all}");
    assert!(wrong * 100 <= all * 2, "{wrong} of {all} are wrong");
}
