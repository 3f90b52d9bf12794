use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const MINUTE: i64 = 60_000;
const START: TimeMs = TimeMs(1_795_335_472_000);

fn at(minutes: i64) -> TimeMs {
    START.plus(minutes * MINUTE)
}

#[test]
fn a_nonce_is_good_once_for_each_key() {
    let nonces = Nonces::open(None, 10, START).unwrap();
    let a = hash("a", "n");
    assert_eq!(nonces.check(&a, START, START), Ok(()));
    assert_eq!(nonces.take(&a, START, START), Ok(()));
    assert_eq!(nonces.check(&a, START, START), Err(NonceRefusal::Used));
    assert_eq!(nonces.take(&a, START, START), Err(NonceRefusal::Used));
    assert_eq!(nonces.take(&hash("b", "n"), START, START), Ok(()));
    assert_ne!(hash("a", "bc"), hash("ab", "c"));
}

#[test]
fn at_the_bound_calls_are_refused_and_nothing_is_forgotten() {
    let nonces = Nonces::open(None, 2, START).unwrap();
    let hashes = ["1", "2", "3"].map(|nonce| hash("a", nonce));
    assert_eq!(nonces.take(&hashes[0], START, START), Ok(()));
    assert_eq!(nonces.take(&hashes[1], START, START), Ok(()));
    assert_eq!(nonces.take(&hashes[2], at(1), at(1)), Err(NonceRefusal::Full));
    assert_eq!(nonces.take(&hashes[0], START, at(30)), Err(NonceRefusal::Used));
    assert_eq!(nonces.take(&hashes[2], at(31), at(31)), Ok(()));
}

#[test]
fn a_clock_that_steps_back_revives_nothing() {
    let nonces = Nonces::open(None, 10, START).unwrap();
    let first = hash("a", "1");
    assert_eq!(nonces.take(&first, at(15), START), Ok(()));
    assert_eq!(nonces.take(&hash("a", "2"), at(40), at(40)), Ok(()));
    // Forgotten by now; the clock steps back to where its timestamp is valid.
    assert_eq!(nonces.take(&first, at(15), START), Err(NonceRefusal::Expired));
    assert_eq!(nonces.take(&hash("a", "3"), at(16), at(10)), Ok(()));
}

#[test]
fn a_clock_that_was_far_ahead_does_not_keep_nonces_for_ever() {
    let nonces = Nonces::open(None, 2, START).unwrap();
    let year = 365 * 24 * 60;
    assert_eq!(nonces.take(&hash("a", "1"), at(year), at(year)), Ok(()));
    assert_eq!(nonces.take(&hash("a", "2"), START, START), Ok(()));
    assert_eq!(nonces.take(&hash("a", "3"), START, START), Err(NonceRefusal::Full));
    assert_eq!(nonces.settled(at(32)).entries.len(), 0);
}

#[test]
fn nonces_outlive_a_restart_and_files_stay_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nonces");
    let mut now = 0;
    for restart in 0..10 {
        let nonces = Nonces::open(Some(&path), 1_000, at(now)).unwrap();
        for _ in 0..50 {
            now += 1;
            assert_eq!(nonces.take(&hash("a", &now.to_string()), at(now), at(now)), Ok(()), "{now}");
        }
        drop(nonces);
        let nonces = Nonces::open(Some(&path), 1_000, at(now)).unwrap();
        for earlier in 1..=now {
            let again = nonces.take(&hash("a", &earlier.to_string()), at(earlier), at(now));
            assert!(again.is_err(), "restart {restart}: {earlier} of {now}");
            assert!(again == Err(NonceRefusal::Used) || earlier <= now - 31, "restart {restart}: {earlier} of {now}");
        }
    }
    let bytes: u64 = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 36 * 150, "{bytes}");
}

#[test]
fn what_was_forgotten_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nonces");
    {
        let nonces = Nonces::open(Some(&path), 1_000, START).unwrap();
        nonces.take(&hash("a", "first"), at(1), START).unwrap();
        for minute in 1..200 {
            nonces.take(&hash("a", &minute.to_string()), at(minute), at(minute)).unwrap();
        }
    }
    // `first` is in no file any more, and the clock is back where it was valid.
    let nonces = Nonces::open(Some(&path), 1_000, START).unwrap();
    assert_eq!(nonces.take(&hash("a", "first"), at(1), START), Err(NonceRefusal::Expired));
}

#[test]
fn a_torn_write_hides_neither_what_was_before_nor_what_comes_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nonces");
    let take = |nonce| Nonces::open(Some(&path), 10, START).unwrap().take(&hash("a", nonce), START, START);
    assert_eq!(take("1"), Ok(()));
    for torn in 1..36 {
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(vec![0x5a; torn]);
        fs::write(&path, bytes).unwrap();
        assert_eq!(take("1"), Err(NonceRefusal::Used));
        if torn == 20 {
            assert_eq!(take("2"), Ok(()));
        }
        assert_eq!(take("2").is_err(), torn >= 20);
        if torn < 20 {
            fs::remove_file(&path).unwrap();
            assert_eq!(take("1"), Ok(()));
        }
    }
}

#[test]
fn a_file_that_can_t_be_opened_is_an_error_at_start() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Nonces::open(Some(&folder.path().join("no/such/folder")), 10, START).is_err());
    assert!(Nonces::open(Some(folder.path()), 10, START).is_err());
}

#[test]
fn a_moment_ahead_refuses_that_moment_alone() {
    let nonces = Nonces::open(None, 1_000, START).unwrap();
    let day = 24 * 60;
    let glitch = hash("a", "glitch");
    assert_eq!(nonces.take(&glitch, at(day), at(day)), Ok(()));
    // Clocks of callers are up to 15 minutes off, and calls are irregular: hours apart, then some at once.
    for minute in (0..day + 120).filter(|minute| minute % 97 == 0 || minute % 400 < 3 || (day - 20..).contains(minute))
    {
        for skew in [-15, -7, 0, 1, 15] {
            let timestamp = at(minute + skew);
            let expected = if minute + skew == day && minute > 31 { Err(NonceRefusal::Expired) } else { Ok(()) };
            let taken = nonces.take(&hash("a", &format!("{minute} {skew}")), timestamp, at(minute));
            assert_eq!(taken, expected, "{minute} {skew}");
        }
    }
    assert_eq!(nonces.take(&glitch, at(day), at(day)), Err(NonceRefusal::Expired));
    assert!(nonces.settled(START).warned);
}

#[test]
fn restarts_keep_files_bounded_however_often_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nonces");
    for minute in 0..300 {
        let nonces = Nonces::open(Some(&path), 1_000, at(minute)).unwrap();
        assert_eq!(nonces.take(&hash("a", &minute.to_string()), at(minute), at(minute)), Ok(()));
        if minute > 0 {
            let before = minute - 1;
            let again = nonces.take(&hash("a", &before.to_string()), at(before), at(minute));
            assert_eq!(again, Err(NonceRefusal::Used));
        }
    }
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 36 * 40, "{bytes}");
    let nonces = Nonces::open(Some(&path), 1_000, START).unwrap();
    for minute in 0..300 {
        let again = nonces.take(&hash("a", &minute.to_string()), at(minute), START);
        assert!(again.is_err(), "{minute}: {again:?}");
    }
}

#[test]
fn files_are_for_the_server_s_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nonces");
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let nonces = Nonces::open(Some(&path), 1_000, START).unwrap();
    for minute in 0..100 {
        nonces.take(&hash("a", &minute.to_string()), at(minute), at(minute)).unwrap();
    }
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn a_start_that_can_not_write_anew_goes_on_with_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nonces");
    let nonces = Nonces::open(Some(&path), 1_000, START).unwrap();
    nonces.take(&hash("a", "1"), START, START).unwrap();
    drop(nonces);
    fs::create_dir(folder.path().join("nonces.new")).unwrap();
    for nonce in ["2", "3"] {
        let nonces = Nonces::open(Some(&path), 1_000, START).unwrap();
        assert_eq!(nonces.take(&hash("a", "1"), START, START), Err(NonceRefusal::Used));
        assert_eq!(nonces.take(&hash("a", nonce), START, START), Ok(()));
    }
    let nonces = Nonces::open(Some(&path), 1_000, START).unwrap();
    assert_eq!(nonces.take(&hash("a", "2"), START, START), Err(NonceRefusal::Used));
}
