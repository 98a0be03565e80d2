//! Amounts as people see them: bars, and lines of the last minutes.
//! It refuses to know what they are of.

/// Parts of a column, from the left.
const PARTS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
/// Parts of a line, from below.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bar of this many columns, filled as far as `part` is of `all`.
pub(crate) fn bar(part: u64, all: u64, columns: usize) -> String {
    let eighths = scaled(part.min(all), all, columns as u64 * 8);
    let whole = usize::try_from(eighths / 8).unwrap_or(columns);
    let rest = usize::try_from(eighths % 8).unwrap_or(0);
    let filled = std::iter::repeat_n('█', whole).chain((rest > 0).then(|| PARTS[rest - 1]));
    let text: String = filled.collect();
    let empty = columns.saturating_sub(text.chars().count());
    text + &"░".repeat(empty)
}

/// A line of at most this many columns through values, the oldest first, of which `top` is the highest level (the highest
/// of them, if it is 0). Where there are more values than columns, each column is the highest of its own.
pub(crate) fn line(values: &[u64], top: u64, columns: usize) -> String {
    let top = if top > 0 { top } else { values.iter().copied().max().unwrap_or(0) };
    let columns = columns.min(values.len());
    let level = |column: usize| {
        let of = |edge: usize| edge * values.len() / columns;
        let highest = values[of(column)..of(column + 1)].iter().copied().max().unwrap_or(0);
        let level = scaled(highest.min(top), top, LEVELS.len() as u64 - 1);
        LEVELS[usize::try_from(level).unwrap_or(0)]
    };
    (0..columns).map(level).collect()
}

/// `part` of `all`, as a part of `of`, to the nearest.
fn scaled(part: u64, all: u64, of: u64) -> u64 {
    match all {
        0 => 0,
        all => u64::try_from((u128::from(part) * u128::from(of) + u128::from(all / 2)) / u128::from(all)).unwrap_or(of),
    }
}

/// Thousandths as a percentage, `12.5%`.
pub(crate) fn percent(permille: u64) -> String {
    format!("{}.{}%", permille / 10, permille % 10)
}

/// Thousandths as a number with two digits, `1.25`.
pub(crate) fn hundredths(permille: u64) -> String {
    format!("{}.{:02}", permille / 1000, permille % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_it_says_and_always_as_wide() {
        for (part, all, shown) in [
            (0, 100, "░░░░"),
            (50, 100, "██░░"),
            (100, 100, "████"),
            (200, 100, "████"),
            (33, 100, "█▍░░"),
            (1, 0, "░░░░"),
            (u64::MAX, u64::MAX, "████"),
        ] {
            assert_eq!(bar(part, all, 4), shown, "{part} of {all}");
        }
        assert_eq!(bar(1, 2, 0), "");
    }

    #[test]
    fn a_line_shows_the_highest_of_what_shares_a_column() {
        for (values, top, columns, shown) in [
            (&[][..], 0, 8, ""),
            (&[0, 0], 0, 8, "▁▁"),
            (&[0, 4, 8], 8, 8, "▁▅█"),
            (&[0, 4, 8], 0, 8, "▁▅█"),
            (&[9, 1, 1, 0], 8, 2, "█▂"),
            (&[100], 1, 4, "█"),
        ] {
            assert_eq!(line(values, top, columns), shown, "{values:?} of {top}");
        }
    }

    #[test]
    fn thousandths_are_written_as_people_do() {
        assert_eq!((percent(5), percent(1000)), ("0.5%".to_owned(), "100.0%".to_owned()));
        assert_eq!((hundredths(1254), hundredths(40)), ("1.25".to_owned(), "0.04".to_owned()));
    }
}
