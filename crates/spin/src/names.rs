//! Which ids and names Spin allows: words of ASCII letters and digits between separators.

use crate::Error;

/// Checks the id of a component: words with `-` between them, each in lower or in upper case.
pub(crate) fn component_id(id: &str) -> Result<(), Error> {
    words(id, '-').map_err(|reason| Error::Name {
        what: "the component id",
        name: id.to_owned(),
        reason,
    })
}

/// Checks the name of a variable, in lower case: it becomes a part of an environment variable's name.
pub(crate) fn variable(name: &str) -> Result<(), Error> {
    let checked =
        words(name, '_').and_then(|()| match name.chars().find(char::is_ascii_uppercase) {
            Some(letter) => Err(format!("{letter:?} is not in lower case")),
            None => Ok(()),
        });
    checked.map_err(|reason| Error::Name {
        what: "the variable",
        name: name.to_owned(),
        reason,
    })
}

fn words(name: &str, separator: char) -> Result<(), String> {
    name.split(separator).try_for_each(|word| {
        let Some(first) = word.chars().next() else {
            return Err(format!("a word before or after {separator:?} is missing"));
        };
        if !first.is_ascii_alphabetic() {
            return Err(format!(
                "a word begins with a letter, and this one with {first:?}"
            ));
        }
        let other_case = |c: &char| {
            c.is_ascii_alphabetic() && c.is_ascii_uppercase() != first.is_ascii_uppercase()
        };
        match word
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() || other_case(c))
        {
            Some(c) if c.is_ascii_alphabetic() => Err(format!(
                "{word:?} is partly in upper and partly in lower case"
            )),
            Some(c) => Err(format!(
                "{c:?} is neither a letter nor a digit of ASCII, nor the separator {separator:?}"
            )),
            None => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{component_id, variable};

    #[test]
    fn ids_are_words_with_hyphens() {
        for id in ["a", "hello-world", "HTTP-api2", "x1-y2"] {
            component_id(id).unwrap();
        }
        for id in ["", "-", "a-", "a--b", "1a", "a_b", "aB", "grün", "a b"] {
            component_id(id).unwrap_err();
        }
    }

    #[test]
    fn variables_are_words_in_lower_case() {
        for name in ["a", "api_host", "x1_y2"] {
            variable(name).unwrap();
        }
        for name in ["", "_a", "a__b", "API", "a-b", "a_1"] {
            variable(name).unwrap_err();
        }
        let error = variable("api_Host").unwrap_err().to_string();
        assert!(
            error.starts_with("the variable \"api_Host\" is not a valid name: "),
            "{error}"
        );
    }
}
