//! A24: the time that an answer takes does not tell where a signature is wrong.
//!
//! No bound in nanoseconds would hold on every machine, so that none is set. Two kinds of wrong signatures are judged in
//! pairs, one right after the other, in an order drawn for each pair: if time does not depend on the kind, then whatever
//! else happens on the machine, either is the slower one in half of the pairs. Of 5,000 pairs the share then strays
//! from one half by 0.007 (one standard deviation), so that a stray of 0.1 is no chance: over 100 runs, half of them on
//! cores that others kept busy, none was above 0.031. Each run shows that it would see a leak: a comparison that stops
//! at the first difference is told apart by the same figure, above 0.4.
//!
//! What this can't see: over the 28 or 64 bytes of a real signature, `==` of slices leaks a nanosecond or so, beside the
//! microseconds of the HMAC. The comparison is therefore asked with a signature of 4 KiB, too.

use std::cmp::Ordering;
use std::hint::black_box;
use std::time::{Duration, Instant};

use super::*;

const PAIRS: u32 = 5_000;
const STRAY_MAX: f64 = 0.1;
const SECRET: &str = "Secret/With+Odd=Chars&01";
const TEXT: &str = "GET&%2F&AccessKeyId%3DLTAI5t%26Action%3DQueryMqttTraceDevice%26Format%3DJSON";

/// In which share of pairs the second kind of signature took longer to be judged; ties count half.
fn share_of_longer(scheme: Scheme, kinds: [&str; 2], judge: impl Fn(&Claim<'_>) -> bool) -> f64 {
    let mut signature = String::new();
    let mut twice_longer = 0;
    for order in orders() {
        let mut took = [Duration::ZERO; 2];
        for kind in order {
            // Both at the same place in memory, so that nothing but the bytes is different.
            signature.clear();
            signature.push_str(kinds[kind]);
            let claim = claim(scheme, &signature);
            let begun = Instant::now();
            let right = black_box(judge(black_box(&claim)));
            took[kind] = begun.elapsed();
            assert!(!right);
        }
        twice_longer += match took[1].cmp(&took[0]) {
            Ordering::Greater => 2,
            Ordering::Equal => 1,
            Ordering::Less => 0,
        };
    }
    f64::from(twice_longer) / f64::from(2 * PAIRS)
}

/// As often one way as the other, shuffled, the same in each run.
fn orders() -> Vec<[usize; 2]> {
    let mut orders: Vec<_> = (0..PAIRS).map(|pair| if pair % 2 == 0 { [0, 1] } else { [1, 0] }).collect();
    let mut seed: u64 = 24;
    for at in (1..orders.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        orders.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
    }
    orders
}

fn claim(scheme: Scheme, signature: &str) -> Claim<'_> {
    Claim {
        scheme,
        key_id: "LTAI5t",
        timestamp: "2026-11-22T08:17:52Z",
        nonce: "nonce",
        security_token: None,
        canonical_request: None,
        string_to_sign: TEXT.into(),
        signature,
        body_is_as_claimed: true,
    }
}

fn sign(scheme: Scheme) -> String {
    match scheme {
        Scheme::RpcV1 => rpc_v1::sign(SECRET, TEXT),
        Scheme::Acs3 => acs3::sign(SECRET, TEXT),
    }
}

/// `right` with the bytes in `range` replaced.
fn wrong(right: &str, range: std::ops::Range<usize>) -> String {
    let mut bytes = right.as_bytes().to_vec();
    for byte in &mut bytes[range] {
        *byte = if *byte == b'x' { b'y' } else { b'x' };
    }
    String::from_utf8(bytes).unwrap()
}

fn stray(share: f64) -> f64 {
    (share - 0.5).abs()
}

#[test]
fn a24_the_time_of_a_verification_does_not_tell_where_the_signature_is_wrong() {
    let secret = Secret::new(SECRET).unwrap();
    for scheme in [Scheme::RpcV1, Scheme::Acs3] {
        let right = sign(scheme);
        assert!(claim(scheme, &right).verify(&secret));
        let length = right.len();
        let first = wrong(&right, 0..1);
        for (name, other) in [
            ("the last byte", wrong(&right, length - 1..length)),
            ("all but the first byte", wrong(&right, 1..length)),
            ("every byte", wrong(&right, 0..length)),
        ] {
            let share = share_of_longer(scheme, [&first, &other], |claim| claim.verify(&secret));
            assert!(
                stray(share) < STRAY_MAX,
                "{scheme:?}: slower with {name} wrong than with the first in {share} of all pairs"
            );
        }
    }
}

#[test]
fn a24_the_time_of_a_comparison_does_not_tell_where_two_texts_differ() {
    let right = "s".repeat(4_096);
    let kinds = [&*wrong(&right, 0..1), &wrong(&right, 4_095..4_096)];
    let share = share_of_longer(Scheme::Acs3, kinds, |claim| claim.is_signed(&right));
    assert!(stray(share) < STRAY_MAX, "slower with the last byte wrong than with the first in {share} of all pairs");
    // `==` stops early.
    let share = share_of_longer(Scheme::Acs3, kinds, |claim| claim.signature == right);
    assert!(stray(share) > STRAY_MAX, "{share}: this test would not see a leak");
}
