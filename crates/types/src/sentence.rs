//! Errors as users read them.

use std::io;

/// An error and its causes as one sentence: `a: b: c`. A cause that its parent already quotes
/// is not repeated. It stays one line, as its log and its reader take it: names that specs and images
/// have may be of any letters.
#[must_use]
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    in_one_line(text)
}

fn in_one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let letters = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    letters.collect()
}

/// The system's error in a text that has it as `Os { code: 2, .. }`: libraries give their errors so
/// that know their causes as text alone.
#[must_use]
pub fn os_error(text: &str) -> Option<io::Error> {
    const BEFORE: &str = "Os { code: ";
    let rest = &text[text.find(BEFORE)? + BEFORE.len()..];
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest[..end].parse().ok().map(io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::{os_error, sentence};
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_sentence_is_one_line() {
        let error = Error::other("cannot open /a\nb\0\u{1b}[31m é");
        assert_eq!(sentence(&error), "cannot open /a\\nb\\u{0}\\u{1b}[31m é");
    }

    #[test]
    fn the_systems_error_is_found_in_a_librarys_text() {
        let library = format!("cgroup: {:?}", Some(Error::from_raw_os_error(2)));
        assert_eq!(os_error(&library).unwrap().kind(), ErrorKind::NotFound);
        for text in [
            "",
            "Os { code: ",
            "Os { code: x",
            "Os { code: 99999999999, ",
        ] {
            assert!(os_error(text).is_none(), "{text}");
        }
    }
}
