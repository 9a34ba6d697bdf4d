//! What a component may connect to: its `allowed_outbound_hosts`.
//!
//! A rule is `scheme://host:port`. `*` stands for any scheme, any host or any port, `*.example.com` for
//! every name below that one, `10.0.0.0/8` for a network, `1000..2000` for ports from the first to the one
//! before the last, and the host `self` for the application's own server. Without a port it is the scheme's
//! own.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use crate::Error;
use crate::template::Template;
use crate::variables::Values;

/// The domain of an application's own components.
pub const CHAINING_DOMAIN: &str = "spin.internal";

/// The rules of one component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// None for any.
    scheme: Option<String>,
    host: Host,
    port: Port,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    /// With the dot before it.
    Below(String),
    Own,
    Name(String),
    Network(IpNet),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Port {
    Any,
    One(u16),
    Range(Range<u16>),
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'a> {
    /// `http`, `redis` and so on; in lower case.
    pub scheme: &'a str,
    /// A name, or an address without brackets.
    pub host: &'a str,
    /// None for the scheme's own.
    pub port: Option<u16>,
}

impl AllowedHosts {
    /// Reads a component's rules, with the values of variables in them.
    ///
    /// # Errors
    /// [`Error::AllowedHost`] with the first rule that is not one, [`Error::Template`] for one with a
    /// variable that there is not.
    pub fn new(component: &str, rules: &[String], values: &Values) -> Result<Self, Error> {
        let mut read = Vec::new();
        for rule in rules {
            let template = Template::parse(rule)?;
            let filled = values.fill(&template)?;
            let has_variables = template.variables().next().is_some();
            // A variable may be empty, for a host that is not used.
            if has_variables && ["", "http://", "https://"].contains(&filled.as_str()) {
                continue;
            }
            read.push(
                Rule::parse(&filled).map_err(|reason| not_a_rule(component, &filled, reason))?,
            );
        }
        Ok(Self(read))
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a connection is allowed.
    #[must_use]
    pub fn allow(&self, destination: &Destination<'_>) -> bool {
        self.0.iter().any(|rule| rule.allows(destination))
    }

    /// Whether requests to the application's own server are allowed.
    #[must_use]
    pub fn allow_own(&self, scheme: &str) -> bool {
        let own = |host: &Host| matches!(host, Host::Any | Host::Own);
        self.0
            .iter()
            .any(|rule| rule.allows_scheme(scheme) && own(&rule.host))
    }
}

/// What the log is told of a connection that no rule allows.
#[must_use]
pub fn refusal(component: &str, destination: &Destination<'_>) -> String {
    let Destination { scheme, host, port } = destination;
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => (*host).to_owned(),
    };
    let rule = match port.or_else(|| own_port(scheme)) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}:*"),
    };
    format!(
        "component {component:?} may not connect to {rule}: add {rule:?} to its allowed_outbound_hosts"
    )
}

/// The component that a name of [`CHAINING_DOMAIN`] stands for.
#[must_use]
pub fn chained_component(host: &str) -> Option<&str> {
    let (component, domain) = host.split_once('.')?;
    (domain == CHAINING_DOMAIN).then_some(component)
}

/// Checks rules as far as that is possible without the values of variables.
pub(crate) fn check(component: &str, rules: &[String]) -> Result<(), Error> {
    rules.iter().try_for_each(|rule| {
        if Template::parse(rule)?.variables().next().is_some() {
            return Ok(());
        }
        Rule::parse(rule)
            .map(drop)
            .map_err(|reason| not_a_rule(component, rule, reason))
    })
}

/// The rules that the older `allowed_http_hosts` stands for: hosts, some with ports, or all of them.
pub(crate) fn of_http_hosts(hosts: &[String]) -> Result<Vec<String>, String> {
    let mut rules = Vec::new();
    for host in hosts {
        match host.as_str() {
            "insecure:allow-all" => {
                rules.extend(["http://*:*", "https://*:*", "http://self"].map(str::to_owned))
            }
            "self" => rules.push("http://self".to_owned()),
            host if host.contains("://") || host.contains('/') || host.is_empty() => {
                return Err(format!(
                    "has {host:?} in allowed_http_hosts, where hosts stand without scheme and path"
                ));
            }
            host => rules.extend([format!("http://{host}"), format!("https://{host}")]),
        }
    }
    Ok(rules)
}

fn not_a_rule(component: &str, rule: &str, reason: String) -> Error {
    Error::AllowedHost {
        component: component.to_owned(),
        rule: rule.to_owned(),
        reason,
    }
}

impl Rule {
    fn parse(rule: &str) -> Result<Self, String> {
        let rule = rule.trim();
        let Some((scheme, rest)) = rule.split_once("://") else {
            return Err(
                "it is not of the form scheme://host:port; \"*://*:*\" allows all".to_owned(),
            );
        };
        let (host, port) = split_port(rest)?;
        Ok(Self {
            scheme: parse_scheme(scheme)?,
            host: Host::parse(host)?,
            port: Port::parse(port, scheme)?,
        })
    }

    fn allows(&self, destination: &Destination<'_>) -> bool {
        self.allows_scheme(destination.scheme)
            && self.host.allows(destination.host)
            && self
                .port
                .allows(destination.port.or_else(|| own_port(destination.scheme)))
    }

    fn allows_scheme(&self, scheme: &str) -> bool {
        self.scheme
            .as_deref()
            .is_none_or(|allowed| allowed == scheme)
    }
}

fn parse_scheme(scheme: &str) -> Result<Option<String>, String> {
    match scheme {
        "*" => Ok(None),
        scheme if scheme.chars().all(char::is_alphabetic) => Ok(Some(scheme.to_owned())),
        scheme => Err(format!("{scheme:?} is no scheme, which has letters only")),
    }
}

/// Parts what follows the scheme. An IPv6 address has colons of its own.
fn split_port(rest: &str) -> Result<(&str, &str), String> {
    let rest = match rest.split_once('/') {
        // A network has its length behind a slash.
        Some((host, _)) if rest.parse::<IpNet>().is_ok() || host.parse::<IpAddr>().is_ok() => rest,
        Some((host, "")) => host,
        Some(_) => return Err("it has a path, and a rule has none".to_owned()),
        None => rest,
    };
    if let Some((address, port)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match port.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if port.is_empty() => Ok((address, "")),
            None => Err(format!("{port:?} behind the address is no port")),
        };
    }
    if rest.parse::<IpNet>().is_ok() || rest.parse::<IpAddr>().is_ok() {
        return Ok((rest, ""));
    }
    Ok(rest.rsplit_once(':').unwrap_or((rest, "")))
}

impl Host {
    fn parse(host: &str) -> Result<Self, String> {
        let host = host.trim();
        if host == "*" {
            return Ok(Self::Any);
        }
        if host == "self" || host == "self.alt" {
            return Ok(Self::Own);
        }
        if let Ok(network) = host.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        let (is_below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        if name.contains('*') {
            return Err(format!(
                "{host:?} has a * elsewhere than before its first dot"
            ));
        }
        let is_part = |c: char| c.is_alphanumeric() || ['-', '_', '.'].contains(&c);
        if name.is_empty() || !name.chars().all(is_part) {
            return Err(format!("{host:?} is no host"));
        }
        let name = name.to_lowercase();
        Ok(if is_below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Name(name)
        })
    }

    fn allows(&self, host: &str) -> bool {
        match (self, host.parse::<IpAddr>()) {
            (Self::Any, _) => true,
            (Self::Own, _) => false,
            (Self::Network(network), Ok(address)) => network.contains(&address),
            (Self::Network(_), Err(_)) | (Self::Below(_) | Self::Name(_), Ok(_)) => false,
            (Self::Below(end), Err(_)) => host.to_lowercase().ends_with(end),
            (Self::Name(name), Err(_)) => host.to_lowercase() == *name,
        }
    }
}

impl Port {
    fn parse(port: &str, scheme: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<u16>()
                .map_err(|_| format!("{text:?} is no port"))
        };
        match port {
            "" => own_port(scheme).map(Self::One).ok_or_else(|| {
                format!("it has no port, and the scheme {scheme:?} has none of its own")
            }),
            "*" => Ok(Self::Any),
            port => match port.split_once("..") {
                Some((first, end)) => Ok(Self::Range(number(first)?..number(end)?)),
                None => number(port).map(Self::One),
            },
        }
    }

    fn allows(&self, port: Option<u16>) -> bool {
        match (self, port) {
            (Self::Any, _) => true,
            (_, None) => false,
            (Self::One(allowed), Some(port)) => *allowed == port,
            (Self::Range(allowed), Some(port)) => allowed.contains(&port),
        }
    }
}

/// The port that a scheme has where none is said.
fn own_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "http" => 80,
        "https" => 443,
        "redis" => 6379,
        "mysql" => 3306,
        "postgres" => 5432,
        "mqtt" => 1883,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
