use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, Scheme};

/// A server, by how it is spoken to, its name and its port: `https://download.maxmind.com`.
///
/// Without TLS only addresses of this machine are accepted, since the license key goes along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    tls: bool,
    /// In lower case; an IPv6 address with its brackets.
    name: String,
    port: u16,
}

/// Where MaxMind's permalinks begin.
const DOWNLOADS: &str = "download.maxmind.com";
/// The server of the update program, which `GeoIP.conf` files name though they need not. It has no permalinks.
const UPDATES: &str = "updates.maxmind.com";

impl Default for Host {
    /// MaxMind's.
    fn default() -> Self {
        Self {
            tls: true,
            name: DOWNLOADS.to_owned(),
            port: 443,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, name, port } = self;
        let (scheme, default) = if *tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{name}")?;
        if *port == default {
            Ok(())
        } else {
            write!(f, ":{port}")
        }
    }
}

impl Host {
    /// A host as a person writes it, and whether it stood for another. The error continues the name of the setting.
    pub(super) fn parse(text: &str) -> Result<(Self, bool), &'static str> {
        const FORM: &str = "is not a host, which is a name or `https://name`, without a path";
        let (tls, rest) = match text.split_once("://") {
            None => (true, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some(_) => return Err(FORM),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| FORM)?;
        let mut host = Self::new(tls, &authority).map_err(|_| FORM)?;
        if !tls && !host.is_loopback() {
            return Err(
                "is without TLS, which is for addresses of this machine alone, such as `http://127.0.0.1:8080`",
            );
        }
        let by_alias = host.name == UPDATES;
        if by_alias {
            host = Self::default();
        }
        Ok((host, by_alias))
    }

    /// The host that an absolute address names.
    pub(super) fn of(uri: &Uri) -> Result<Self, &'static str> {
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err("to something other than HTTP"),
        };
        let authority = uri.authority().ok_or("without saying where to")?;
        Self::new(tls, authority)
    }

    fn new(tls: bool, authority: &Authority) -> Result<Self, &'static str> {
        // `name:password@` is no part of a host, and would be sent to it.
        if authority.as_str().contains('@') {
            return Err("to an address with a password");
        }
        let name = authority.host();
        // `Authority` reads `name:` and `name:99999` as if there were no port.
        let port = authority.port_u16();
        if name.is_empty() || (port.is_none() && authority.as_str() != name) {
            return Err("without saying where to");
        }
        Ok(Self {
            tls,
            name: name.to_ascii_lowercase(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
        })
    }

    /// The address of something on it; `path` begins with a slash.
    pub(super) fn uri(&self, path: &str) -> Result<Uri, http::Error> {
        let Self { tls, name, port } = self;
        Uri::builder()
            .scheme(if *tls { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(format!("{name}:{port}"))
            .path_and_query(path)
            .build()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is an address of this machine. A name is not: who resolves it decides what it means.
    pub(super) fn is_loopback(&self) -> bool {
        self.name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        for (text, want) in [
            ("download.maxmind.com", "https://download.maxmind.com"),
            ("https://mirror.example/", "https://mirror.example"),
            ("HTTPS://Mirror.Example:8443", "https://mirror.example:8443"),
            ("mirror.example:443", "https://mirror.example"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]", "http://[::1]"),
        ] {
            let (host, by_alias) = Host::parse(text).unwrap();
            assert_eq!(host.to_string(), want);
            assert!(!by_alias);
        }
        for text in ["updates.maxmind.com", "https://updates.maxmind.com"] {
            assert_eq!(Host::parse(text), Ok((Host::default(), true)));
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "https://",
            "ftp://mirror.example",
            "https://mirror.example/path",
            "https://mirror.example?query",
            "https://name:password@mirror.example",
            "mirror.example:99999",
            "mirror.example:",
            "a b",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
        for text in [
            "http://download.maxmind.com",
            "http://localhost",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
        ] {
            let problem = Host::parse(text).unwrap_err();
            assert!(problem.contains("without TLS"), "{text}: {problem}");
        }
    }
}
