//! Where a server listens, as its environment says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listen {
    /// This port of every address of the pod, be they of IPv4 or of IPv6.
    All(u16),
    /// One address.
    At(SocketAddr),
    /// This port of every address that the pod finds for a name.
    Name(String, u16),
}

impl Listen {
    /// Reads `10.0.0.1:8080`, `[::]:8080`, `localhost:8080` or `:8080`; `None` if it is none of them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        if let Ok(address) = text.parse::<SocketAddr>() {
            let all = address.is_ipv6() && address.ip().is_unspecified();
            return Some(if all {
                Self::All(port)
            } else {
                Self::At(address)
            });
        }
        if host.is_empty() || host == "*" {
            return Some(Self::All(port));
        }
        // An interface has a name there, of which an address knows the number only.
        let scoped = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Some((address, interface)) = scoped.and_then(|host| host.split_once('%')) {
            let known = address.parse::<IpAddr>().is_ok() && !interface.is_empty();
            return known.then(|| Self::Name(format!("{address}%{interface}"), port));
        }
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        // What consists of a number's characters is meant to be an address, and is none.
        let number = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        (host.bytes().all(named) && !number).then(|| Self::Name(host.to_owned(), port))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(port) => write!(f, "[::]:{port}"),
            Self::At(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn addresses_names_and_ports_alone_are_told_apart() {
        let at = |text: &str| Some(Listen::At(text.parse().unwrap()));
        let name = |name: &str| Some(Listen::Name(name.to_owned(), 80));
        for (text, wanted) in [
            ("0.0.0.0:80", at("0.0.0.0:80")),
            ("[::1]:80", at("[::1]:80")),
            ("[::]:80", Some(Listen::All(80))),
            (":80", Some(Listen::All(80))),
            ("*:80", Some(Listen::All(80))),
            ("localhost:80", name("localhost")),
            ("web-0.web:80", name("web-0.web")),
            ("[fe80::1%eth0]:80", name("fe80::1%eth0")),
            ("80", None),
            ("localhost", None),
            ("localhost:http", None),
            ("localhost:0", None),
            ("0.0.0.0:0", None),
            ("::1:80", None),
            ("[::1:80", None),
            ("10.0.0:80", None),
            ("256.0.0.1:80", None),
            ("[eth0%x]:80", None),
            ("http://localhost:80", None),
            ("a b:80", None),
        ] {
            assert_eq!(Listen::parse(text), wanted, "{text}");
        }
    }
}
