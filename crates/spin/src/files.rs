//! Which files a component sees.
//!
//! A dir that is shown with all that is in it is shown as it is. Of other files the component gets copies, as
//! what lies beside them is not for it.

use std::collections::BTreeSet;

use glob::{MatchOptions, Pattern};

use crate::Error;
use crate::app::{App, Component, Files};

/// What stands for all files below a dir.
const ALL_BELOW: &str = "/**/*";

/// How some of a component's files are shown to it. Paths of files are those from the manifest's dir on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown<'a> {
    /// A dir as it is, at an absolute path.
    Dir {
        /// Where it lies.
        source: &'a str,
        /// Where the component sees it.
        destination: String,
    },
    /// A dir as it is, or a copy of a file: what lies there tells.
    Placed {
        /// Where it lies.
        source: &'a str,
        /// Where the component sees it.
        destination: &'a str,
    },
    /// Copies of what lies there, be it a dir or a file.
    Copy {
        /// Where it lies.
        source: &'a str,
        /// Where the component sees it.
        destination: &'a str,
    },
    /// Copies of the files of this path or pattern, at the same paths.
    Matching(&'a str),
}

/// How each of a component's files is shown to it.
#[must_use]
pub fn shown(component: &Component) -> Vec<Shown<'_>> {
    let mut destinations = BTreeSet::new();
    let whole = component.exclude_files.is_empty();
    let shown = component.files.iter().filter_map(|files| match files {
        Files::Pattern(pattern) => {
            let dir = pattern
                .strip_suffix(ALL_BELOW)
                .filter(|dir| whole && !is_pattern(dir));
            let destination = dir.map(absolute);
            Some(match (dir, destination) {
                (Some(source), Some(destination)) if destinations.insert(destination.clone()) => {
                    Shown::Dir {
                        source,
                        destination,
                    }
                }
                _ => Shown::Matching(pattern),
            })
        }
        Files::Placed {
            source,
            destination,
        } if whole && destinations.insert(absolute(destination)) => Some(Shown::Placed {
            source,
            destination,
        }),
        Files::Placed {
            source,
            destination,
        } => Some(Shown::Copy {
            source,
            destination,
        }),
        Files::Layer { .. } | Files::Inline { .. } => None,
    });
    shown.collect()
}

/// Whether a component of the application may get copies.
#[must_use]
pub fn need_copies(app: &App) -> bool {
    let copies = |shown: &Shown<'_>| !matches!(shown, Shown::Dir { .. });
    app.components
        .values()
        .any(|component| shown(component).iter().any(copies))
}

/// Whether text is more than a path.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// A path from the component's root on, without what stands for nothing in it.
#[must_use]
pub fn absolute(path: &str) -> String {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<_> = parts.collect();
    format!("/{}", parts.join("/"))
}

/// Checks the patterns and destinations of a component.
pub(crate) fn check(id: &str, component: &Component) -> Result<(), Error> {
    let wrong = |reason: String| Error::Component {
        id: id.to_owned(),
        reason,
    };
    for files in &component.files {
        match files {
            Files::Pattern(pattern) => {
                if pattern.starts_with('/') || leads_up(pattern) {
                    return Err(wrong(format!(
                        "has the files {pattern:?}, which do not lie beside the manifest"
                    )));
                }
                Matcher::new(pattern, &[]).map_err(wrong)?;
            }
            Files::Placed {
                source,
                destination,
            } => {
                if source.starts_with('/') || leads_up(source) {
                    return Err(wrong(format!(
                        "has the files {source:?}, which do not lie beside the manifest"
                    )));
                }
                if !destination.starts_with('/') || leads_up(destination) {
                    return Err(wrong(format!(
                        "has files at {destination:?}, which is no absolute path"
                    )));
                }
            }
            Files::Layer { .. } | Files::Inline { .. } => {}
        }
    }
    Matcher::new("*", &component.exclude_files)
        .map(drop)
        .map_err(wrong)
}

fn leads_up(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// Tells which files are meant.
#[derive(Debug)]
pub struct Matcher {
    pattern: Pattern,
    excluded: Vec<Pattern>,
}

impl Matcher {
    /// Of a pattern, but for those of the patterns `excluded`.
    ///
    /// # Errors
    /// What is wrong with one of them, to be said of the component.
    pub fn new(pattern: &str, excluded: &[String]) -> Result<Self, String> {
        let parse = |pattern: &str| {
            let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
            Pattern::new(pattern)
                .map_err(|error| format!("has the pattern of files {pattern:?}: {}", error.msg))
        };
        Ok(Self {
            pattern: parse(pattern)?,
            excluded: excluded
                .iter()
                .map(|excluded| parse(excluded))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether the file at a path is meant.
    #[must_use]
    pub fn is_match(&self, path: &str) -> bool {
        let options = MatchOptions {
            require_literal_separator: true,
            ..MatchOptions::new()
        };
        self.pattern.matches_with(path, options) && !self.is_excluded(path)
    }

    /// Whether the file at a path is not to be seen. Here `*` stands for any part of a path, as with Spin.
    #[must_use]
    pub fn is_excluded(&self, path: &str) -> bool {
        self.excluded.iter().any(|excluded| excluded.matches(path))
    }
}

#[cfg(test)]
mod tests {
    use super::{Matcher, Shown, need_copies, shown};
    use crate::App;

    fn app(files: &str) -> Result<App, String> {
        let toml = format!(
            "spin_manifest_version = 2\napplication = {{ name = \"a\" }}\n[[trigger.http]]\n\
             route = \"/\"\ncomponent = \"c\"\n[component.c]\nsource = \"c.wasm\"\n{files}\n"
        );
        App::from_manifest(&toml).map_err(|error| error.to_string())
    }

    #[test]
    fn whole_dirs_are_shown_as_they_are_and_the_rest_is_copied() {
        let whole = app(r#"files = ["assets/**/*", "./more/x/**/*"]"#).unwrap();
        assert!(!need_copies(&whole));
        let dir = |source, destination: &str| Shown::Dir {
            source,
            destination: destination.to_owned(),
        };
        assert_eq!(
            shown(&whole.components["c"]),
            [dir("assets", "/assets"), dir("./more/x", "/more/x")]
        );
        for files in [
            r#"files = ["*.txt"]"#,
            r#"files = ["**/*"]"#,
            r#"files = ["assets/*"]"#,
            r#"files = ["a*/**/*"]"#,
            r#"files = ["assets/**/*"]
            exclude_files = ["*.md"]"#,
            r#"files = ["assets/**/*", "./assets/**/*"]"#,
            r#"files = [{ source = "a", destination = "/b" }]"#,
        ] {
            assert!(need_copies(&app(files).unwrap()), "{files}");
        }
        let placed = app(
            r#"files = [{ source = "a", destination = "/" }, { source = "b", destination = "/" }]"#,
        );
        let placed = placed.unwrap();
        let (source, destination) = ("a", "/");
        let second = Shown::Copy {
            source: "b",
            destination,
        };
        assert_eq!(
            shown(&placed.components["c"]),
            [
                Shown::Placed {
                    source,
                    destination
                },
                second
            ]
        );
    }

    #[test]
    fn files_lie_beside_the_manifest() {
        for files in [
            r#"files = ["/etc/*"]"#,
            r#"files = ["../*"]"#,
            r#"files = ["a/../../b"]"#,
            r#"files = [{ source = "/a", destination = "/b" }]"#,
            r#"files = [{ source = "../a", destination = "/b" }]"#,
            r#"files = [{ source = "a", destination = "b" }]"#,
            r#"files = [{ source = "a", destination = "/b/../.." }]"#,
            r#"files = ["a[" ]"#,
            r#"exclude_files = ["a[" ]"#,
        ] {
            let error = app(files).unwrap_err();
            assert!(error.starts_with("the component \"c\" has "), "{error}");
        }
    }

    #[test]
    fn patterns_match_as_with_spin() {
        let matches =
            |pattern: &str, path: &str| Matcher::new(pattern, &[]).unwrap().is_match(path);
        assert!(matches("*.txt", "a.txt"));
        assert!(!matches("*.txt", "dir/a.txt"));
        assert!(matches("**/*", "a/b/.c"));
        assert!(matches("a/**/*.txt", "a/b/c/d.txt"));
        assert!(matches("./a?/x", "ab/x"));
        let excluding = Matcher::new("**/*", &["*.md".to_owned(), "secret/*".to_owned()]).unwrap();
        assert!(excluding.is_match("a/b.txt"));
        assert!(!excluding.is_match("a/b.md"));
        assert!(!excluding.is_match("secret/x/y"));
    }
}
