//! Numbers as people say them.

/// A span as a person says it: `4.2 s`, `95 s`, `5 min`, `5 min 10 s`, `3 h 20 min`, `12 days`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms.saturating_add(500) / 1_000;
    let minutes = seconds.saturating_add(30) / 60;
    match ms {
        0..9_950 => {
            let tenths = (ms + 50) / 100;
            if tenths.is_multiple_of(10) {
                format!("{} s", tenths / 10)
            } else {
                format!("{}.{} s", tenths / 10, tenths % 10)
            }
        }
        9_950..119_500 => format!("{seconds} s"),
        119_500..1_199_500 if !seconds.is_multiple_of(60) => format!("{} min {} s", seconds / 60, seconds % 60),
        119_500..5_370_000 => format!("{minutes} min"),
        5_370_000..172_770_000 if !minutes.is_multiple_of(60) => format!("{} h {} min", minutes / 60, minutes % 60),
        5_370_000..172_770_000 => format!("{} h", minutes / 60),
        172_770_000.. => format!("{} days", seconds.saturating_add(43_200) / 86_400),
    }
}

/// Whole seconds, rounded.
pub(crate) fn seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1_000
}

/// `1 drop`, `3 drops`.
pub(crate) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// `count` of `all`: `all 7`, `5 of 7`.
pub(crate) fn share(count: usize, all: usize) -> String {
    if count == all && all > 1 { format!("all {all}") } else { format!("{count} of {all}") }
}

/// The same at the beginning of a sentence.
pub(crate) fn share_first(count: usize, all: usize) -> String {
    share(count, all).replacen("all", "All", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_as_a_person_would() {
        for (ms, expected) in [
            (0, "0 s"),
            (4_230, "4.2 s"),
            (9_960, "10 s"),
            (95_400, "95 s"),
            (119_600, "2 min"),
            (300_000, "5 min"),
            (310_200, "5 min 10 s"),
            (3_600_000, "60 min"),
            (12_000_000, "3 h 20 min"),
            (86_400_000, "24 h"),
            (172_800_000, "2 days"),
            (1_036_800_000, "12 days"),
        ] {
            assert_eq!(span(ms), expected, "{ms}");
        }
        assert_eq!(span(u64::MAX), "213503982335 days");
    }

    #[test]
    fn counts_read_as_english() {
        assert_eq!((counted(1, "drop"), counted(3, "drop")), ("1 drop".into(), "3 drops".into()));
        assert_eq!((share(7, 7), share(5, 7), share(1, 1)), ("all 7".into(), "5 of 7".into(), "1 of 1".into()));
    }
}
