//! Values with `{{ variable }}` in them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A value, in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`Error::Template`] if a `{{` has no `}}`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("{{") {
                let Some((name, after)) = after.split_once("}}") else {
                    return Err(Error::Template {
                        template: text.to_owned(),
                        reason: "a \"{{\" has no \"}}\"".to_owned(),
                    });
                };
                parts.push(Part::Variable(name.trim().to_owned()));
                rest = after;
            } else {
                let end = rest.find("{{").unwrap_or(rest.len());
                let (literal, after) = rest.split_at(end);
                parts.push(Part::Text(literal.to_owned()));
                rest = after;
            }
        }
        Ok(Self(parts))
    }

    /// The names of the variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Puts a value in the place of each variable.
    ///
    /// # Errors
    /// Those of `value`.
    pub fn fill<'a, E>(&self, value: impl Fn(&str) -> Result<&'a str, E>) -> Result<String, E> {
        let mut filled = String::new();
        for part in &self.0 {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::Variable(name) => value(name)?,
            });
        }
        Ok(filled)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "{{{{ {name} }}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Template;

    fn filled(text: &str) -> Result<String, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        template.fill(|name| match name {
            "host" => Ok("example.com"),
            "empty" => Ok(""),
            other => Err(other.to_owned()),
        })
    }

    #[test]
    fn variables_are_replaced() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("https://{{ host }}/x", "https://example.com/x"),
            ("{{host}}{{empty}}{{ host }}", "example.comexample.com"),
            ("{ {host} }", "{ {host} }"),
            ("{{ host }}}}", "example.com}}"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected));
        }
        assert_eq!(filled("{{ other }}"), Err("other".to_owned()));
    }

    #[test]
    fn an_open_brace_is_an_error() {
        let error = filled("{{ host }} {{ other").unwrap_err();
        assert!(error.contains("has no \"}}\""), "{error}");
    }

    #[test]
    fn it_reads_as_it_was_written() {
        let text = "https://{{ host }}/{{ path }}";
        assert_eq!(Template::parse(text).unwrap().to_string(), text);
    }
}
