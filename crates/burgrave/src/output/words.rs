//! Times and lists in words.

use std::fmt::Display;
use std::time::Duration;

use burgrave_types::{Standing, Timestamp};

use super::Tone;

/// A length of time in its largest two units: `12 s`, `3 min 5 s`, `2 h`, `4 d 3 h`.
pub(crate) fn span(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (large, name, small, small_name) = match secs {
        0..60 => return format!("{secs} s"),
        60..3600 => (secs / 60, "min", secs % 60, "s"),
        3600..86_400 => (secs / 3600, "h", secs % 3600 / 60, "min"),
        _ => (secs / 86_400, "d", secs % 86_400 / 3600, "h"),
    };
    if small == 0 { format!("{large} {name}") } else { format!("{large} {name} {small} {small_name}") }
}

/// How long ago `then` was.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    format!("{} ago", span(now.since(then)))
}

/// How long it is until `then`.
pub(crate) fn deadline(now: Timestamp, then: Timestamp) -> String {
    if then > now { format!("{} left", span(then.since(now))) } else { format!("over since {}", span(now.since(then))) }
}

/// How an instance stands, with its deadline.
pub(crate) fn standing(now: Timestamp, standing: Standing) -> (String, Tone) {
    match standing {
        Standing::Fresh { until } => (format!("fresh, {}", deadline(now, until)), Tone::Good),
        Standing::Stale { since } => (format!("stale since {}", span(now.since(since))), Tone::Warning),
        Standing::Revoked { at } => (format!("revoked {}", age(now, at)), Tone::Bad),
    }
}

/// The value, or a dash where there is none.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The items with commas between, or a dash where there are none.
pub(crate) fn list<I: IntoIterator<Item: Display>>(items: I) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}

/// What to sort names by that end in numbers: `pcr2` before `pcr10`.
pub(crate) fn by_number(name: &str) -> (&str, usize, &str) {
    let (word, number) = name.split_at(name.trim_end_matches(|character: char| character.is_ascii_digit()).len());
    (word, number.len(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_their_largest_units() {
        let said = |secs| span(Duration::from_secs(secs));
        assert_eq!(
            [said(12), said(60), said(185), said(7200), said(90_000)],
            ["12 s", "1 min", "3 min 5 s", "2 h", "1 d 1 h"]
        );
    }

    #[test]
    fn a_fresh_instance_shows_what_is_left_and_a_missed_deadline_says_so() {
        let now = Timestamp::from_unix_secs(1000);
        let until = Timestamp::from_unix_secs(1012);
        assert_eq!(standing(now, Standing::Fresh { until }), ("fresh, 12 s left".to_owned(), Tone::Good));
        assert_eq!(deadline(until, now), "over since 12 s");
        assert_eq!(standing(until, Standing::Stale { since: now }).0, "stale since 12 s");
    }

    #[test]
    fn names_with_numbers_are_in_the_numbers_order() {
        let mut names = ["pcr10", "pcr2", "sha384:pcr1", "rtmr0", "pcr", "pcr23"];
        names.sort_by(|one, other| by_number(one).cmp(&by_number(other)));
        assert_eq!(names, ["pcr", "pcr2", "pcr10", "pcr23", "rtmr0", "sha384:pcr1"]);
    }
}
