//! What a component of an application may connect to: its `allowed_outbound_hosts`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;
use medley_spin::allowed_hosts::{AllowedHosts, Destination, chained_component, refusal};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::http::Chain;

/// The application's own server, as its components call it.
const OWN: [&str; 2] = ["self", "self.alt"];

/// How many requests to other components may hang on one from outside, one after the other: each has an instance, of
/// which there are only so many.
pub(crate) const MAX_DEPTH: u32 = 8;

/// Writes a line to the container's log.
pub(crate) type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// The rules of one component.
pub(crate) struct Outgoing {
    component: String,
    allowed: Arc<AllowedHosts>,
    chain: Arc<Chain>,
    log: Log,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Way {
    /// Out, to this address.
    Out(Uri),
    /// To another component of the application.
    Chained(Arc<Chain>, String),
    Denied,
    /// To another component, as one of too many after the other.
    TooDeep,
}

impl Outgoing {
    pub(crate) fn new(
        component: String,
        allowed: Arc<AllowedHosts>,
        chain: Arc<Chain>,
        log: Log,
    ) -> Self {
        Self {
            component,
            allowed,
            chain,
            log,
        }
    }

    /// Where a request may go of a component that answers one that `depth` others have sent, one after the other. If it
    /// may not go there, the log is told why.
    pub(crate) fn way(&self, uri: &Uri, depth: u32) -> Way {
        // Names are the same in either case, and components have theirs in lower case.
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.as_str();
        let scheme = uri.scheme_str().unwrap_or("http");
        let destination = Destination {
            scheme,
            host: host.trim_start_matches('[').trim_end_matches(']'),
            port: uri.port_u16(),
        };
        if OWN.contains(&host) && self.allowed.allow_own(scheme) {
            return self.own(uri).map_or(Way::Denied, Way::Out);
        }
        if !self.allow(&destination) {
            return Way::Denied;
        }
        match chained_component(host) {
            Some(component) if depth >= MAX_DEPTH => {
                (self.log)(&format!(
                    "component {:?} may not call {component:?}: there are {MAX_DEPTH} requests of components to others \
                     before it, each of which waits for the next",
                    self.component
                ));
                Way::TooDeep
            }
            Some(component) => Way::Chained(self.chain.clone(), component.to_owned()),
            None => Way::Out(uri.clone()),
        }
    }

    /// An address of the application's own server.
    fn own(&self, uri: &Uri) -> Option<Uri> {
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(self.chain.server()?.to_string().parse().ok()?);
        Uri::from_parts(parts).ok()
    }

    fn allow(&self, destination: &Destination<'_>) -> bool {
        let allowed = self.allowed.allow(destination);
        if !allowed {
            (self.log)(&refusal(&self.component, destination));
        }
        allowed
    }

    fn allow_socket(&self, address: SocketAddr, what: SocketAddrUse) -> bool {
        let scheme = match what {
            // A connection has an address of its own, which the system chooses. No other one is for a
            // component: it would be a server beside the application's.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                return address.ip().is_unspecified() && address.port() == 0;
            }
            SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => return false,
            SocketAddrUse::TcpConnect => "tcp",
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => "udp",
        };
        let host = address.ip().to_canonical().to_string();
        let destination = Destination {
            scheme,
            host: &host,
            port: Some(address.port()),
        };
        match what {
            // Of what others send there is no end.
            SocketAddrUse::UdpReceive => self.allowed.allow(&destination),
            _ => self.allow(&destination),
        }
    }

    /// Has the sockets of a guest keep to the rules. Where none is allowed names are of no use, and would tell others
    /// of what the guest knows.
    pub(crate) fn limit(self: &Arc<Self>, builder: &mut WasiCtxBuilder) {
        if self.allowed.is_empty() {
            builder.allow_ip_name_lookup(false);
        }
        let rules = self.clone();
        builder.socket_addr_check(move |address, what| {
            let allowed = rules.allow_socket(address, what);
            Box::pin(std::future::ready(allowed))
        });
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("component", &self.component)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Outgoing, Way};
    use medley_spin::allowed_hosts::AllowedHosts;
    use std::sync::{Arc, Mutex};
    use wasmtime_wasi::sockets::SocketAddrUse;

    fn rules(rules: &[&str]) -> (Outgoing, Arc<Mutex<Vec<String>>>) {
        let rules: Vec<_> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let allowed = AllowedHosts::new("c", &rules, &Default::default()).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let log = said.clone();
        let log = Arc::new(move |line: &str| log.lock().unwrap().push(line.to_owned()));
        let outgoing = Outgoing::new("c".to_owned(), Arc::new(allowed), Arc::default(), log);
        (outgoing, said)
    }

    #[test]
    fn a_request_that_no_rule_allows_is_told_to_the_log() {
        let (rules, said) = rules(&["https://a.example", "http://[::1]:80"]);
        let allowed = |uri: &str| matches!(rules.way(&uri.parse().unwrap(), 0), Way::Out(_));
        assert!(allowed("https://a.example/x") && allowed("http://[::1]/"));
        assert!(said.lock().unwrap().is_empty());
        assert!(!allowed("http://a.example/x"));
        assert_eq!(
            *said.lock().unwrap(),
            [
                "component \"c\" may not connect to http://a.example:80: add \"http://a.example:80\" to its \
              allowed_outbound_hosts"
            ]
        );
    }

    #[test]
    fn components_and_the_own_server_have_names_of_their_own() {
        let (rules, said) = rules(&["http://b.spin.internal", "http://self"]);
        let way = |uri: &str| rules.way(&uri.parse().unwrap(), 0);
        assert!(matches!(way("http://b.spin.internal/x"), Way::Chained(_, id) if id == "b"));
        assert!(matches!(way("http://B.Spin.Internal/x"), Way::Chained(_, id) if id == "b"));
        assert!(matches!(way("http://c.spin.internal/x"), Way::Denied));
        assert_eq!(said.lock().unwrap().len(), 1);
        let deep = "http://b.spin.internal/".parse().unwrap();
        assert!(matches!(rules.way(&deep, 7), Way::Chained(..)));
        assert!(matches!(rules.way(&deep, 8), Way::TooDeep));
        assert_eq!(said.lock().unwrap().len(), 2);
        // There is no server.
        assert!(matches!(way("http://self/x"), Way::Denied));
        rules.chain.listen("[::]:80".parse().unwrap());
        assert!(matches!(way("http://SELF/x?y"), Way::Out(uri) if uri == "http://[::1]:80/x?y"));
    }

    #[test]
    fn sockets_keep_to_the_rules_too() {
        let (rules, _) = rules(&["tcp://10.0.0.0/8:5000", "*://192.0.2.1:53"]);
        let allowed = |address: &str, what| rules.allow_socket(address.parse().unwrap(), what);
        assert!(allowed("10.1.2.3:5000", SocketAddrUse::TcpConnect));
        assert!(allowed("[::ffff:10.1.2.3]:5000", SocketAddrUse::TcpConnect));
        assert!(!allowed("10.1.2.3:5000", SocketAddrUse::UdpSend));
        assert!(!allowed("10.1.2.3:5001", SocketAddrUse::TcpConnect));
        assert!(allowed("192.0.2.1:53", SocketAddrUse::UdpReceive));
        assert!(!allowed("0.0.0.0:0", SocketAddrUse::TcpListen));
        assert!(allowed("0.0.0.0:0", SocketAddrUse::TcpBind));
        assert!(!allowed("0.0.0.0:80", SocketAddrUse::TcpBind));
        assert!(!allowed("127.0.0.1:0", SocketAddrUse::UdpBind));
    }
}
