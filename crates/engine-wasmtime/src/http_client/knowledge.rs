//! Which servers are known to speak HTTP/2 before they have been asked.

use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, header};

use crate::variables;

/// Variables that name servers that speak HTTP/2 without TLS, separated by commas: ours, and Spin's.
const PRIOR_KNOWLEDGE: [&str; 2] = [
    "WASMTIME_HTTP_H2C_PRIOR_KNOWLEDGE",
    "SPIN_OUTBOUND_H2C_PRIOR_KNOWLEDGE",
];

/// What is known of a request's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownServer {
    /// It speaks HTTP/2.
    Http2,
    /// Nothing: with TLS it is asked, without it speaks HTTP/1.1.
    Nothing,
}

/// The servers that are known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Knowledge(Vec<Server>);

#[derive(Debug, PartialEq, Eq)]
struct Server {
    /// In lower case; absent where any is meant.
    host: Option<String>,
    /// Absent where any is meant.
    port: Option<u16>,
}

impl Knowledge {
    /// What an environment says.
    pub(super) fn new(env: &[(String, String)]) -> Result<Self, variables::Error> {
        let expected = "a list such as api:50051,[fd00::1]:50051,cache or *";
        let list = |value: &str| value.split(',').map(Server::parse).collect();
        let mut servers: Vec<_> = Vec::new();
        for name in PRIOR_KNOWLEDGE {
            let named: Option<Vec<_>> = variables::parse(env, name, expected, list)?;
            servers.extend(named.unwrap_or_default());
        }
        Ok(Self(servers))
    }

    /// What is known of the server that `request` is for. What says that it is gRPC has no other
    /// form than HTTP/2.
    pub(super) fn of<B>(&self, request: &Request<B>) -> KnownServer {
        let uri = request.uri();
        let plain = uri.scheme() == Some(&Scheme::HTTP);
        let named = |authority| self.0.iter().any(|server| server.is(authority));
        if is_grpc(request.headers()) || (plain && uri.authority().is_some_and(named)) {
            KnownServer::Http2
        } else {
            KnownServer::Nothing
        }
    }
}

impl Server {
    /// Reads `api:50051`, `[fd00::1]:50051`, `api` for all ports of it, or `*` for all servers.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self {
                host: None,
                port: None,
            });
        }
        let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
        Some(Self {
            host: Some(authority.host().to_ascii_lowercase()),
            port: authority.port_u16(),
        })
    }

    fn is(&self, authority: &Authority) -> bool {
        let host = self.host.as_deref();
        let port = authority.port_u16().unwrap_or(80);
        host.is_none_or(|host| host.eq_ignore_ascii_case(authority.host()))
            && self.port.is_none_or(|expected| expected == port)
    }
}

/// Whether a request is one of gRPC proper: gRPC-Web is made for HTTP/1.1.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let rest = content_type.and_then(|value| {
        let (name, rest) = value.as_bytes().split_at_checked(GRPC.len())?;
        name.eq_ignore_ascii_case(GRPC).then_some(rest)
    });
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

const GRPC: &[u8] = b"application/grpc";

#[cfg(test)]
mod tests {
    use super::{Knowledge, KnownServer};
    use http::Request;

    fn known(list: &str, uri: &str, content_type: &str) -> bool {
        let env = [(super::PRIOR_KNOWLEDGE[0].to_owned(), list.to_owned())];
        let request = Request::post(uri).header("content-type", content_type);
        Knowledge::new(&env).unwrap().of(&request.body(()).unwrap()) == KnownServer::Http2
    }

    #[test]
    fn a_server_is_known_by_its_name_and_port() {
        for (list, uri, expected) in [
            ("", "http://api:50051/", false),
            ("api:50051", "http://api:50051/", true),
            ("api:50051", "http://API:50051/", true),
            ("api:50051", "http://api:50052/", false),
            ("api:50051", "http://api/", false),
            ("api:50051", "http://me@api:50051/", true),
            ("api:80", "http://api/", true),
            ("api", "http://api:50051/", true),
            ("other, api ", "http://api/", true),
            ("[fd00::1]:50051", "http://[fd00::1]:50051/", true),
            ("*", "http://10.0.0.1/", true),
            // There TLS tells.
            ("*", "https://api/", false),
        ] {
            assert_eq!(known(list, uri, "text/plain"), expected, "{list} {uri}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/GRPC;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ] {
            assert_eq!(
                known("", "http://api/", content_type),
                expected,
                "{content_type}"
            );
            assert_eq!(
                known("", "https://api/", content_type),
                expected,
                "{content_type}"
            );
        }
    }

    #[test]
    fn what_is_no_list_of_servers_is_told() {
        for list in ["not a name", "http://api:50051", "api,,other", "me@api"] {
            let env = [(super::PRIOR_KNOWLEDGE[0].to_owned(), list.to_owned())];
            assert!(Knowledge::new(&env).is_err(), "{list}");
        }
    }

    #[test]
    fn the_name_that_spin_has_for_it_counts_too() {
        let env = [(
            "SPIN_OUTBOUND_H2C_PRIOR_KNOWLEDGE".to_owned(),
            "[::1]:10000".to_owned(),
        )];
        let request = Request::get("http://[::1]:10000/").body(()).unwrap();
        assert_eq!(
            Knowledge::new(&env).unwrap().of(&request),
            KnownServer::Http2
        );
    }
}
