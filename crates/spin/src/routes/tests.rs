//! The cases that Spin's own route tests decide, and some at their edges.

use super::{Hidden, Match, Router};
use crate::app::{Handler, HttpTrigger, Route};

fn trigger(pattern: &str) -> HttpTrigger {
    HttpTrigger {
        id: format!("id of {pattern}"),
        route: Route::Pattern(pattern.to_owned()),
        handler: Handler::Component("c".to_owned()),
    }
}

fn router(base: &str, patterns: &[&str]) -> (Router, Vec<Hidden>) {
    let triggers: Vec<_> = patterns.iter().map(|pattern| trigger(pattern)).collect();
    Router::new(base, &triggers).unwrap()
}

/// Checks which of the patterns each path finds.
fn decides(base: &str, patterns: &[&str], cases: &[(&str, Option<&str>)]) {
    let (router, _) = router(base, patterns);
    for (path, expected) in cases {
        let found = router.find(path).map(|found| patterns[found.trigger]);
        assert_eq!(found, *expected, "{path} of {patterns:?} behind {base:?}");
    }
}

#[test]
fn exact_patterns_match_their_path() {
    let patterns = ["/foo", "/foo/bar"];
    decides(
        "/",
        &patterns,
        &[
            ("/foo", Some("/foo")),
            ("/foo/", Some("/foo")),
            ("/foo/bar", Some("/foo/bar")),
            ("/", None),
            ("/foo/bar/baz", None),
            ("/fo", None),
            ("/Foo", None),
        ],
    );
}

#[test]
fn a_base_stands_before_every_pattern() {
    for base in ["/base", "/base/"] {
        decides(
            base,
            &["/foo", "/foo/bar", "/"],
            &[
                ("/base/foo", Some("/foo")),
                ("/base/foo/bar", Some("/foo/bar")),
                ("/base", Some("/")),
                ("/foo", None),
            ],
        );
    }
}

#[test]
fn dots_match_all_below() {
    decides(
        "/",
        &["/..."],
        &[
            ("/", Some("/...")),
            ("/foo/bar", Some("/...")),
            ("/abc/", Some("/...")),
        ],
    );
    decides(
        "/",
        &["/a/..."],
        &[("/a", Some("/a/...")), ("/ab", None), ("/", None)],
    );
}

#[test]
fn the_longest_pattern_is_taken_in_either_order() {
    let mut patterns = ["/one/...", "/one/two/...", "/one/two/three/..."];
    for _ in 0..2 {
        decides(
            "/",
            &patterns,
            &[
                ("/one/two/three/four", Some("/one/two/three/...")),
                ("/one/two/four", Some("/one/two/...")),
                ("/one/four", Some("/one/...")),
            ],
        );
        patterns.reverse();
    }
}

#[test]
fn exact_comes_before_a_name_and_a_name_before_dots() {
    decides(
        "/",
        &["/...", "/:x", "/one"],
        &[
            ("/one", Some("/one")),
            ("/two", Some("/:x")),
            ("/two/three", Some("/...")),
        ],
    );
}

#[test]
fn a_pattern_may_lack_its_first_slash() {
    decides("/", &["foo"], &[("/foo", Some("foo"))]);
}

#[test]
fn of_two_patterns_the_later_one_counts() {
    let patterns = ["/", "/foo", "/foo", "/whee/..."];
    let triggers: Vec<_> = patterns
        .iter()
        .enumerate()
        .map(|(number, pattern)| HttpTrigger {
            id: number.to_string(),
            ..trigger(pattern)
        })
        .collect();
    let (router, hidden) = Router::new("/", &triggers).unwrap();
    assert_eq!(router.find("/foo").unwrap().trigger, 2);
    let expected = Hidden {
        pattern: "/foo".to_owned(),
        trigger: "1".to_owned(),
        by: "2".to_owned(),
    };
    assert_eq!(hidden, [expected]);
}

#[test]
fn private_triggers_have_no_path() {
    let private = HttpTrigger {
        route: Route::Private,
        ..trigger("/")
    };
    let (router, _) = Router::new("/", &[private]).unwrap();
    assert_eq!(router.find("/"), None);
}

#[test]
fn what_is_below_keeps_its_slash_at_the_end() {
    let (router, _) = router("/", &["/test/...", "/1/:two/..."]);
    for (path, rest) in [
        ("/test", ""),
        ("/test/", "/"),
        ("/test/hello", "/hello"),
        ("/test/hello/", "/hello/"),
        ("/test/a/b", "/a/b"),
        ("/1/2/3", "/3"),
    ] {
        assert_eq!(router.find(path).unwrap().rest, rest, "{path}");
    }
}

#[test]
fn names_stand_for_parts_of_the_path() {
    let (router, _) = router("/base", &["/1/:two/3"]);
    let found = router.find("/base/1/2/3").unwrap();
    let expected = Match {
        trigger: 0,
        based: "/base/1/:two/3",
        raw: "/1/:two/3",
        rest: String::new(),
        names: vec![("two".to_owned(), "2".to_owned())],
    };
    assert_eq!(found, expected);
}

#[test]
fn a_pattern_that_finds_nothing_is_refused() {
    let long = "/a".repeat(1000);
    for (pattern, words) in [
        ("/*/x", "begins with"),
        ("/:é/b", "ASCII"),
        (long.as_str(), "1024 bytes"),
    ] {
        let error = Router::new("/", &[trigger(pattern)]).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
