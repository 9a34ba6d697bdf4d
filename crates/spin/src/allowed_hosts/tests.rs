//! Rules and what they allow, as Spin decides it.

use super::{AllowedHosts, Destination, chained_component, of_http_hosts};
use crate::variables::Values;

fn rules(rules: &[&str]) -> AllowedHosts {
    let rules: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).collect();
    AllowedHosts::new("c", &rules, &Values::default()).unwrap()
}

fn allows(rule: &str, (scheme, host, port): (&str, &str, Option<u16>)) -> bool {
    rules(&[rule]).allow(&Destination { scheme, host, port })
}

#[test]
fn rules_allow_their_scheme_host_and_port() {
    let table = [
        ("http://example.com", ("http", "example.com", None), true),
        (
            "http://example.com",
            ("http", "example.com", Some(80)),
            true,
        ),
        ("http://example.com", ("http", "EXAMPLE.com", None), true),
        (
            "http://example.com",
            ("http", "example.com", Some(81)),
            false,
        ),
        ("http://example.com", ("https", "example.com", None), false),
        (
            "http://example.com",
            ("http", "www.example.com", None),
            false,
        ),
        ("https://example.com/", ("https", "example.com", None), true),
        (
            "https://*.example.com",
            ("https", "a.b.example.com", None),
            true,
        ),
        (
            "https://*.example.com",
            ("https", "example.com", None),
            false,
        ),
        (
            "https://*.example.com",
            ("https", "badexample.com", None),
            false,
        ),
        ("*://*:*", ("anything", "192.0.2.1", Some(9)), true),
        ("*://*:*", ("anything", "x", None), true),
        (
            "*://example.com:8080",
            ("redis", "example.com", Some(8080)),
            true,
        ),
        ("redis://h", ("redis", "h", Some(6379)), true),
        ("postgres://h", ("postgres", "h", None), true),
        ("http://h:1000..2000", ("http", "h", Some(1000)), true),
        ("http://h:1000..2000", ("http", "h", Some(2000)), false),
        ("http://10.0.0.0/8", ("http", "10.1.2.3", None), true),
        (
            "http://10.0.0.0/8:8080",
            ("http", "10.1.2.3", Some(8080)),
            true,
        ),
        ("http://10.0.0.0/8", ("http", "11.1.2.3", None), false),
        ("http://[::1]:81", ("http", "::1", Some(81)), true),
        ("http://[::1]", ("http", "::2", None), false),
        ("http://self", ("http", "self", None), false),
        ("http://*.example.com", ("http", "192.0.2.1", None), false),
    ];
    for (rule, destination, expected) in table {
        assert_eq!(
            allows(rule, destination),
            expected,
            "{rule} and {destination:?}"
        );
    }
}

#[test]
fn what_is_not_a_rule_says_why() {
    for (rule, reason) in [
        ("example.com", "scheme://host:port"),
        ("*", "scheme://host:port"),
        ("", "scheme://host:port"),
        ("ht-tp://example.com", "letters only"),
        ("{http,https}://example.com", "letters only"),
        ("http://example.com/path", "path"),
        ("http://ex*mple.com", "before its first dot"),
        ("http://", "is no host"),
        ("ftp://example.com", "none of its own"),
        ("http://example.com:x", "is no port"),
        ("http://example.com:1..x", "is no port"),
        ("http://example.com:70000", "is no port"),
    ] {
        let rules = [rule.to_owned()];
        let error = AllowedHosts::new("c", &rules, &Values::default()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(reason) && error.contains("component \"c\""),
            "{rule}: {error}"
        );
    }
}

#[test]
fn requests_to_the_own_server_have_a_rule_of_their_own() {
    assert!(rules(&["http://self"]).allow_own("http"));
    assert!(rules(&["*://*:*"]).allow_own("http"));
    assert!(!rules(&["http://self"]).allow_own("https"));
    assert!(!rules(&["http://example.com"]).allow_own("http"));
}

#[test]
fn an_empty_variable_leaves_its_rule_out() {
    use crate::app::Variable;
    let variables = ["host", "none"].map(|name| {
        let default = if name == "host" { "example.com" } else { "" };
        let variable = Variable {
            default: Some(default.to_owned()),
            secret: false,
        };
        (name.to_owned(), variable)
    });
    let values = Values::new(&variables.into(), |_| None).unwrap();
    let written = ["https://{{ host }}", "https://{{ none }}"].map(str::to_owned);
    let read = AllowedHosts::new("c", &written, &values).unwrap();
    assert_eq!(read, rules(&["https://example.com"]));
}

#[test]
fn the_older_list_of_hosts_becomes_rules() {
    let rules = |hosts: &[&str]| {
        of_http_hosts(
            &hosts
                .iter()
                .map(|&host| host.to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        rules(&["example.com:81", "self"]).unwrap(),
        [
            "http://example.com:81",
            "https://example.com:81",
            "http://self"
        ]
    );
    assert_eq!(
        rules(&["insecure:allow-all"]).unwrap(),
        ["http://*:*", "https://*:*", "http://self"]
    );
    rules(&["https://example.com"]).unwrap_err();
}

#[test]
fn components_have_names_of_their_own() {
    assert_eq!(chained_component("shop.spin.internal"), Some("shop"));
    assert_eq!(chained_component("spin.internal"), None);
    assert_eq!(chained_component("a.shop.spin.internal"), None);
    assert_eq!(chained_component("shop.example"), None);
}
