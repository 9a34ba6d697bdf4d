//! Which trigger answers a path, decided as Spin decides it.
//!
//! | pattern | matches |
//! |---|---|
//! | `/path` | this path, with a `/` behind it or without |
//! | `/path/...` | this path and all below it |
//! | `/path/:name` | one more part, which the component finds in a header |
//!
//! An exact pattern comes before one with a name, and that before `...`; of several `...`, the longest.

use std::collections::BTreeMap;

use crate::Error;
use crate::app::{HttpTrigger, Route};

/// Paths that the server answers itself.
pub const WELL_KNOWN: &str = "/.well-known/spin/";

/// Longest pattern with its base, in bytes.
const MAX_PATTERN: usize = 1024;

/// Finds the trigger for a path.
#[derive(Debug)]
pub struct Router(routefinder::Router<Entry>);

#[derive(Debug)]
struct Entry {
    /// Which of the application's triggers.
    trigger: usize,
    /// Its pattern behind the base.
    based: String,
    /// Its pattern as it is written.
    raw: String,
}

/// A route that another one of the same pattern hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The pattern of both.
    pub pattern: String,
    /// The id of the trigger that is never asked.
    pub trigger: String,
    /// The id of the one that is.
    pub by: String,
}

/// What answers a request, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'a> {
    /// Which of the application's triggers.
    pub trigger: usize,
    /// The pattern behind the base.
    pub based: &'a str,
    /// The pattern as it is written.
    pub raw: &'a str,
    /// What `...` stands for, from its `/` on.
    pub rest: String,
    /// What the names stand for.
    pub names: Vec<(String, String)>,
}

impl Router {
    /// The routes of an application's triggers behind `base`. Of two with the same pattern the later one
    /// counts, as with Spin; the other one is given back.
    ///
    /// # Errors
    /// [`Error::Route`] with the first pattern that is not one.
    pub fn new(base: &str, triggers: &[HttpTrigger]) -> Result<(Self, Vec<Hidden>), Error> {
        let mut order: Vec<&str> = Vec::new();
        let mut routes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut hidden = Vec::new();
        for (number, trigger) in triggers.iter().enumerate() {
            let Route::Pattern(pattern) = &trigger.route else {
                continue;
            };
            match routes.insert(pattern, number) {
                None => order.push(pattern),
                Some(before) => hidden.push(Hidden {
                    pattern: pattern.clone(),
                    trigger: id_of(triggers, before),
                    by: trigger.id.clone(),
                }),
            }
        }
        let mut router = routefinder::Router::new();
        for pattern in order {
            let Some(trigger) = routes.get(pattern).copied() else {
                continue;
            };
            let based = with_base(base, pattern);
            if let Some(reason) = wrong(&based) {
                return Err(Error::Route {
                    route: pattern.chars().take(MAX_PATTERN).collect(),
                    handler: id_of(triggers, trigger),
                    reason: reason.to_owned(),
                });
            }
            let spec = match based.strip_suffix("/...") {
                Some(above) => format!("{above}/*"),
                None => based.clone(),
            };
            let entry = Entry {
                trigger,
                based,
                raw: pattern.to_owned(),
            };
            router
                .add(spec.as_str(), entry)
                .map_err(|reason| Error::Route {
                    route: pattern.to_owned(),
                    handler: id_of(triggers, trigger),
                    reason: reason.to_string(),
                })?;
        }
        Ok((Self(router), hidden))
    }

    /// The trigger for a path, which is without a query.
    #[must_use]
    pub fn find<'a>(&'a self, path: &'a str) -> Option<Match<'a>> {
        let found = self.0.best_match(path)?;
        let captures = found.captures();
        let entry = found.handler();
        // routefinder takes no `/` at the end for a part of what is below; Spin gives it to the component.
        let end = if path.ends_with('/') { "/" } else { "" };
        let rest = captures.wildcard().map(|below| match below {
            "" => end.to_owned(),
            below => format!("/{below}{end}"),
        });
        Some(Match {
            trigger: entry.trigger,
            based: &entry.based,
            raw: &entry.raw,
            rest: rest.unwrap_or_default(),
            names: captures
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }
}

/// Why a pattern is none. routefinder would take some of these, and find no component by them.
fn wrong(based: &str) -> Option<&'static str> {
    if based.len() > MAX_PATTERN {
        Some("it has more than 1024 bytes")
    } else if !based.is_ascii() {
        Some("it has other characters than ASCII's, which stand as %XX in a path")
    } else if based.split('/').any(|part| part.starts_with('*')) {
        Some("a part of it begins with \"*\": \"...\" at its end stands for all below")
    } else {
        None
    }
}

fn id_of(triggers: &[HttpTrigger], number: usize) -> String {
    triggers
        .get(number)
        .map(|trigger| trigger.id.clone())
        .unwrap_or_default()
}

/// A pattern behind the base, each without a `/` at its end.
fn with_base(base: &str, pattern: &str) -> String {
    let without_end = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
    let absolute = if pattern.starts_with('/') {
        without_end(pattern)
    } else {
        without_end(&format!("/{pattern}"))
    };
    format!("{}{absolute}", without_end(base))
}

#[cfg(test)]
mod tests;
