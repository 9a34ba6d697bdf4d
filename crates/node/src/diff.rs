//! What would change, as `diff -u` shows it.

use std::fmt::Write;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// More lines than this on both sides are not compared one by one, but shown as exchanged.
const MAX_CELLS: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Old(&'t str),
    New(&'t str),
}

/// The difference between two texts; empty if there is none. `None` is a file that is not there.
pub(crate) fn unified(path: &str, old: Option<&str>, new: Option<&str>) -> String {
    let (before, after) = (old.unwrap_or_default(), new.unwrap_or_default());
    if before == after && old.is_some() == new.is_some() {
        return String::new();
    }
    let name = |side: Option<&str>| if side.is_some() { path } else { "/dev/null" };
    let mut text = format!("--- {}\n+++ {}\n", name(old), name(new));
    let lines = compare(before, after);
    for (start, end) in hunks(&lines) {
        hunk(&mut text, &lines, start, end);
    }
    text
}

/// The text `after` with the byte order mark and the ends of lines that `before` has. A parser of TOML keeps
/// neither, and the lines that it did not change are to stay as they were.
pub(crate) fn in_the_way_of(before: &str, after: &str) -> String {
    /// What some editors put before a text.
    const MARK: char = '\u{feff}';
    let (plain, body) = (before.trim_start_matches(MARK), after);
    let unix = |text: &str| text.replace("\r\n", "\n");
    let (old, new) = (unix(plain), unix(body));
    if old == new {
        return before.to_owned();
    }
    let windows = before.matches("\r\n").count();
    let end = if 2 * windows > before.matches('\n').count() {
        "\r\n"
    } else {
        "\n"
    };
    let mut theirs = plain.split_inclusive('\n');
    let mut text = before[..before.len() - plain.len()].to_owned();
    for line in compare(&old, &new) {
        let line = match line {
            Line::Same(_) => theirs.next().unwrap_or_default().to_owned(),
            Line::Old(_) => {
                theirs.next();
                continue;
            }
            Line::New(line) => line.replace('\n', end),
        };
        if !text.is_empty() && !text.ends_with(['\n', MARK]) {
            text += end;
        }
        text += &line;
    }
    text
}

fn compare<'t>(before: &'t str, after: &'t str) -> Vec<Line<'t>> {
    let old: Vec<&str> = before.split_inclusive('\n').collect();
    let new: Vec<&str> = after.split_inclusive('\n').collect();
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let ends = old_rest.iter().rev().zip(new_rest.iter().rev());
    let tail = ends.take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) = (
        &old_rest[..old_rest.len() - tail],
        &new_rest[..new_rest.len() - tail],
    );
    let mut lines: Vec<_> = old[..head].iter().map(|line| Line::Same(line)).collect();
    lines.extend(middle(old_middle, new_middle));
    let tail = &old[old.len() - tail..];
    lines.extend(tail.iter().map(|line| Line::Same(line)));
    lines
}

/// The longest common subsequence of lines, as tables have it.
fn middle<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let (rows, columns) = (old.len(), new.len());
    if rows.saturating_mul(columns) > MAX_CELLS {
        let removed = old.iter().map(|line| Line::Old(line));
        return removed
            .chain(new.iter().map(|line| Line::New(line)))
            .collect();
    }
    let mut longest = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            longest[row][column] = if old[row] == new[column] {
                longest[row + 1][column + 1] + 1
            } else {
                longest[row + 1][column].max(longest[row][column + 1])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut lines = Vec::new();
    while row < rows || column < columns {
        if row < rows && column < columns && old[row] == new[column] {
            lines.push(Line::Same(old[row]));
            (row, column) = (row + 1, column + 1);
        } else if row < rows
            && (column == columns || longest[row + 1][column] >= longest[row][column + 1])
        {
            lines.push(Line::Old(old[row]));
            row += 1;
        } else {
            lines.push(Line::New(new[column]));
            column += 1;
        }
    }
    lines
}

/// The ranges of lines that are shown together.
fn hunks(lines: &[Line<'_>]) -> Vec<(usize, usize)> {
    let mut hunks: Vec<(usize, usize)> = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        if matches!(line, Line::Same(_)) {
            continue;
        }
        let (start, end) = (
            n.saturating_sub(CONTEXT),
            (n + CONTEXT + 1).min(lines.len()),
        );
        match hunks.last_mut() {
            Some(last) if start <= last.1 => last.1 = end,
            _ => hunks.push((start, end)),
        }
    }
    hunks
}

fn hunk(text: &mut String, lines: &[Line<'_>], start: usize, end: usize) {
    let count = |lines: &[Line<'_>], without: fn(&Line<'_>) -> bool| {
        lines.iter().filter(|line| !without(line)).count()
    };
    let is_new: fn(&Line<'_>) -> bool = |line| matches!(line, Line::New(_));
    let is_old: fn(&Line<'_>) -> bool = |line| matches!(line, Line::Old(_));
    let range = |without| {
        let length = count(&lines[start..end], without);
        // Of no lines, the one before is told.
        let first = count(&lines[..start], without) + usize::from(length > 0);
        format!("{first},{length}")
    };
    let mut write = |prefix: &str, line: &str| {
        let end = if line.ends_with('\n') {
            ""
        } else {
            "\n\\ No newline at end of file\n"
        };
        // Writing into a string does not fail.
        write!(text, "{prefix}{line}{end}").ok();
    };
    write(
        "",
        &format!("@@ -{} +{} @@\n", range(is_new), range(is_old)),
    );
    for line in &lines[start..end] {
        match line {
            Line::Same(line) => write(" ", line),
            Line::Old(line) => write("-", line),
            Line::New(line) => write("+", line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{in_the_way_of, unified};

    #[test]
    fn a_difference_is_shown_as_diff_shows_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten";
        let expected = "--- a\n+++ a\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+ten\n\\ No newline at end of file\n";
        assert_eq!(unified("a", Some(old), Some(new)), expected);
        assert_eq!(unified("a", Some(old), Some(old)), "");
    }

    #[test]
    fn changes_far_apart_are_shown_apart() {
        let old: String = (0..30).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n3\n", "\nthree\n").replace("\n25\n", "\n");
        let shown = unified("a", Some(&old), Some(&new));
        assert_eq!(shown.matches("@@ -").count(), 2, "{shown}");
        assert!(shown.contains("@@ -1,7 +1,7 @@"), "{shown}");
        assert!(shown.contains("@@ -23,7 +23,6 @@"), "{shown}");
    }

    #[test]
    fn a_file_that_comes_or_goes_is_dev_null_on_the_other_side() {
        let made = unified("/a", None, Some("x\n"));
        assert_eq!(made, "--- /dev/null\n+++ /a\n@@ -0,0 +1,1 @@\n+x\n");
        let gone = unified("/a", Some("x\n"), None);
        assert_eq!(gone, "--- /a\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-x\n");
    }

    #[test]
    fn lines_keep_their_ends_and_new_ones_have_those_of_most() {
        for (before, after, expected) in [
            ("a\r\nb\r\n", "a\nb\nc\n", "a\r\nb\r\nc\r\n"),
            ("a\r\nb\nd\n", "a\nb\nc\nd\n", "a\r\nb\nc\nd\n"),
            ("\u{feff}a\n", "a\nb\n", "\u{feff}a\nb\n"),
            ("a\r\nb", "a\nb\nc\n", "a\r\nb\r\nc\r\n"),
            ("a\r\nb\r\n", "b\n", "b\r\n"),
            ("\u{feff}a\r\n", "a\n", "\u{feff}a\r\n"),
            ("", "a\n", "a\n"),
        ] {
            assert_eq!(in_the_way_of(before, after), expected, "{before:?}");
        }
    }
}
