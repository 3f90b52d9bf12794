//! Simulated histories with a known cause: how often the verdict is right, how often it is wrong, and how often it says that there is not enough
//! evidence. The table is printed: `cargo nextest run -p tracemq-why --test simulated --no-capture`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the numbers of a pretend world are small and not negative, and what it lacks is a fault of the test"
)]

mod stories;
mod world;

use std::collections::BTreeMap;

use tracemq_model::TimeMs;
use tracemq_why::{Case, Cause, Judgement, judge};

use crate::stories::{CAUSES, story};
use crate::world::World;

/// Histories of each cause.
const EACH: u64 = 40;

fn judged(world: &World) -> Judgement {
    let World { events, gaps, surroundings, now, .. } = world;
    judge(&Case { events, gaps, surroundings, now: TimeMs(*now) })
}

#[test]
fn nineteen_of_twenty_verdicts_are_right_and_hardly_any_is_wrong() {
    let first: u64 = std::env::var("WHY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let each: u64 = std::env::var("WHY_EACH").ok().and_then(|each| each.parse().ok()).unwrap_or(EACH);
    let mut table: BTreeMap<(Cause, Cause), usize> = BTreeMap::new();
    let (mut right, mut wrong, mut all) = (0, 0, 0);
    for truth in CAUSES {
        for seed in first..first + each {
            let judgement = judged(&story(*truth, seed));
            let said = judgement.verdict.cause;
            *table.entry((*truth, said)).or_default() += 1;
            all += 1;
            right += usize::from(said == *truth);
            wrong += usize::from(said != *truth && said != Cause::NotEnoughEvidence);
            if said != *truth {
                println!(
                    "{truth} #{seed}: {said} ({}): {}",
                    judgement.verdict.confidence.code(),
                    judgement.verdict.sentence
                );
                for one in &judgement.verdict.ruled_out {
                    println!("    not {}: {}", one.cause, one.because);
                }
            }
        }
    }
    print(&table);
    println!("{all} histories: {right} right, {wrong} wrong, {} not enough evidence instead", all - right - wrong);
    assert!(all >= 240 && right * 100 >= all * 95, "{right} of {all} are right");
    assert!(wrong * 100 <= all * 2, "{wrong} of {all} are wrong");
}

fn print(table: &BTreeMap<(Cause, Cause), usize>) {
    print!("{:24}", "truth \\ verdict");
    CAUSES.iter().for_each(|cause| print!("{:>5.4}", cause.code()));
    println!();
    for truth in CAUSES {
        print!("{:24}", truth.code());
        for said in CAUSES {
            match table.get(&(*truth, *said)) {
                Some(count) => print!("{count:>5}"),
                None => print!("{:>5}", "."),
            }
        }
        println!();
    }
}
