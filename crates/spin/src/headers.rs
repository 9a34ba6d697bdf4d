//! What a component is told of a request in `spin-*` headers.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::routes::Match;

/// What stands before them all. A client's own headers of these names are replaced.
pub const PREFIX: &str = "spin-";

/// A request, as far as its headers depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host that the client named, with its port if it named one.
    pub host: &'a str,
    /// Path and query.
    pub path_and_query: &'a str,
    /// Where the client is.
    pub client: SocketAddr,
}

/// The headers for a request, by their names in lower case.
#[must_use]
pub fn headers(request: &Request<'_>, found: &Match<'_>) -> Vec<(Cow<'static, str>, String)> {
    let Request {
        scheme,
        host,
        path_and_query,
        client,
    } = request;
    let route = found.raw.strip_suffix("/...").unwrap_or(found.raw);
    let known = [
        ("spin-path-info", found.rest.clone()),
        (
            "spin-full-url",
            [*scheme, "://", *host, *path_and_query].concat(),
        ),
        ("spin-matched-route", found.based.to_owned()),
        // Routes and paths have the base in them: so it is said to be the root, as Spin says it.
        ("spin-base-path", "/".to_owned()),
        ("spin-raw-component-route", found.raw.to_owned()),
        ("spin-component-route", route.to_owned()),
        ("spin-client-addr", client.to_string()),
    ];
    let mut headers = Vec::with_capacity(known.len() + found.names.len());
    headers.extend(known.map(|(name, value)| (Cow::Borrowed(name), value)));
    headers.extend(found.names.iter().map(|(name, value)| {
        let name = name.to_ascii_lowercase().replace('_', "-");
        (format!("spin-path-match-{name}").into(), value.clone())
    }));
    headers
}

#[cfg(test)]
mod tests {
    use super::{Request, headers};
    use crate::app::{Handler, HttpTrigger, Route};
    use crate::routes::Router;

    fn told(pattern: &str, path_and_query: &str) -> Vec<(String, String)> {
        let trigger = HttpTrigger {
            id: "t".to_owned(),
            route: Route::Pattern(pattern.to_owned()),
            handler: Handler::Component("c".to_owned()),
        };
        let (router, _) = Router::new("/", &[trigger]).unwrap();
        let path = path_and_query.split('?').next().unwrap();
        let request = Request {
            scheme: "https",
            host: "shop.example",
            path_and_query,
            client: "192.0.2.1:8777".parse().unwrap(),
        };
        let told = headers(&request, &router.find(path).unwrap());
        let owned = told.into_iter();
        owned
            .map(|(name, value)| (name.into_owned(), value))
            .collect()
    }

    #[test]
    fn a_component_hears_of_its_route_and_of_what_is_below() {
        let expected = [
            ("spin-path-info", "/bar"),
            ("spin-full-url", "https://shop.example/foo/42/bar?a=b&c"),
            ("spin-matched-route", "/foo/:user_id/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/foo/:user_id/..."),
            ("spin-component-route", "/foo/:user_id"),
            ("spin-client-addr", "192.0.2.1:8777"),
            ("spin-path-match-user-id", "42"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told("/foo/:user_id/...", "/foo/42/bar?a=b&c"), expected);
    }

    #[test]
    fn an_exact_route_has_nothing_below() {
        let told = told("/foo", "/foo");
        assert_eq!(told[0], ("spin-path-info".to_owned(), String::new()));
    }
}
