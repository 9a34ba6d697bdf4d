//! Whom a request is for, as its server is told.

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Uri, Version, header};
use wasmtime_wasi_http::Error;

/// Refuses a request that has no server, or none that would take it; takes out of its address what
/// is none of a server's business.
pub(super) fn check<B>(request: &mut Request<B>) -> Result<(), Error> {
    // What it asks for is a tunnel, for which WASI has no words.
    if request.method() == Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let authority = request.uri().authority();
    let authority = authority.ok_or(Error::HttpRequestUriInvalid)?;
    // A name and a password may stand there, which belong into a header of their own.
    if let Some((_, server)) = authority.as_str().rsplit_once('@') {
        let server: Authority = server.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let mut parts = request.uri().clone().into_parts();
        parts.authority = Some(server);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)?;
    }
    Ok(())
}

/// Says whom it is for in the words of this version: `Host` in HTTP/1.1, whose servers are told the
/// path alone; `:authority` in HTTP/2, which the library makes of the address.
pub(super) fn name<B>(request: &mut Request<B>, version: Version) -> Result<(), Error> {
    *request.version_mut() = version;
    request.headers_mut().remove(header::HOST);
    if version == Version::HTTP_2 {
        return Ok(());
    }
    let authority = request.uri().authority().map_or("", Authority::as_str);
    let host = HeaderValue::try_from(authority).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(header::HOST, host);
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check, name};
    use http::{Method, Request, Version};

    fn told(uri: &str, version: Version) -> (String, Option<String>) {
        let mut request = Request::get(uri).body(()).unwrap();
        check(&mut request).unwrap();
        name(&mut request, version).unwrap();
        let host = request.headers().get("host");
        let host = host.map(|host| host.to_str().unwrap().to_owned());
        (request.uri().to_string(), host)
    }

    #[test]
    fn a_server_is_told_its_name_in_the_words_of_the_version() {
        for (uri, host, path) in [
            ("http://a.example/x?y", "a.example", "/x?y"),
            ("http://a.example:8080/", "a.example:8080", "/"),
            ("https://[::1]:8443/", "[::1]:8443", "/"),
            ("http://me:word@a.example:81/", "a.example:81", "/"),
        ] {
            let (said, header) = told(uri, Version::HTTP_11);
            assert_eq!((said.as_str(), header.as_deref()), (path, Some(host)));
            let (said, header) = told(uri, Version::HTTP_2);
            let scheme = uri.split_once(':').unwrap().0;
            assert_eq!((said, header), (format!("{scheme}://{host}{path}"), None));
        }
    }

    #[test]
    fn what_no_server_takes_is_refused() {
        let mut tunnel = Request::get("http://a.example:443/").body(()).unwrap();
        *tunnel.method_mut() = Method::CONNECT;
        assert!(check(&mut tunnel).is_err());
        assert!(check(&mut Request::get("/x").body(()).unwrap()).is_err());
    }
}
