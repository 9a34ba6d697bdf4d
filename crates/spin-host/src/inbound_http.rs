//! Requests for components that export `fermyon:spin/inbound-http`, as those of Spin 1 do.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use wasmtime::component::{Instance, Linker};
use wasmtime::{AsContextMut, Store};

crate::bindings! { generated
    inline: r#"
        package fermyon:spin;
        interface http-types {
            type http-status = u16;
            type body = list<u8>;
            type headers = list<tuple<string, string>>;
            type params = list<tuple<string, string>>;
            type uri = string;
            enum method { get, post, put, delete, patch, head, options }
            record request {
                method: method,
                uri: uri,
                headers: headers,
                params: params,
                body: option<body>,
            }
            record response { status: http-status, headers: option<headers>, body: option<body> }
        }
        interface inbound-http {
            use http-types.{request, response};
            handle-request: func(req: request) -> response;
        }
        world handler { export inbound-http; }
    "#,
    exports: { default: async },
}

use generated::Handler;
use generated::fermyon::spin::http_types::{Method, Request, Response};

/// The types of what it exports, which a component imports. They have no function.
const TYPES: &str = "fermyon:spin/http-types";

/// Adds them if a component imports them.
pub(crate) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    imports: &dyn Fn(&str) -> bool,
) -> wasmtime::Result<()> {
    if imports(TYPES) {
        linker.instance(TYPES)?;
    }
    Ok(())
}

/// Whether an export of this name is called by [`InboundHttp`].
#[must_use]
pub fn is_inbound_http(export: &str) -> bool {
    export == "fermyon:spin/inbound-http"
}

/// What is called in one instance.
pub struct InboundHttp(Handler);

impl std::fmt::Debug for InboundHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InboundHttp")
    }
}

impl InboundHttp {
    /// Finds the export.
    ///
    /// # Errors
    /// It is not there, or of another type.
    pub fn new(store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Self> {
        Handler::new(store, instance).map(Self)
    }

    /// Has the instance answer a request. One with a method that the interface does not have is answered
    /// here.
    ///
    /// # Errors
    /// The instance traps, or answers what is no response of HTTP.
    pub async fn call<T: Send>(
        &self,
        store: &mut Store<T>,
        request: http::Request<Bytes>,
    ) -> wasmtime::Result<http::Response<Bytes>> {
        let Some(request) = to_guest(request) else {
            let mut refused = http::Response::new(Bytes::new());
            *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            return Ok(refused);
        };
        let handler = self.0.fermyon_spin_inbound_http();
        from_guest(handler.call_handle_request(store, &request).await?)
    }
}

/// The request in the words of the interface, if it has words for its method.
fn to_guest(request: http::Request<Bytes>) -> Option<Request> {
    let method = match *request.method() {
        http::Method::GET => Method::Get,
        http::Method::POST => Method::Post,
        http::Method::PUT => Method::Put,
        http::Method::DELETE => Method::Delete,
        http::Method::PATCH => Method::Patch,
        http::Method::HEAD => Method::Head,
        http::Method::OPTIONS => Method::Options,
        _ => return None,
    };
    let uri = match request.uri().path_and_query() {
        Some(path) => path.to_string(),
        None => request.uri().to_string(),
    };
    let headers = request.headers().iter().filter_map(|(name, value)| {
        let value = str::from_utf8(value.as_bytes()).ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    Some(Request {
        method,
        uri,
        headers: headers.collect(),
        // Spin leaves them empty as well.
        params: Vec::new(),
        body: Some(request.into_body().into()),
    })
}

fn from_guest(response: Response) -> wasmtime::Result<http::Response<Bytes>> {
    let body = Bytes::from(response.body.unwrap_or_default());
    let mut translated = http::Response::new(body);
    *translated.status_mut() = StatusCode::from_u16(response.status)?;
    for (name, value) in response.headers.unwrap_or_default() {
        let name = HeaderName::try_from(name)?;
        // The server says by itself how long the body is, and where it ends.
        if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
            continue;
        }
        let value = HeaderValue::try_from(value)?;
        translated.headers_mut().append(name, value);
    }
    Ok(translated)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Response, from_guest, to_guest};

    #[test]
    fn a_request_is_told_in_the_words_of_the_interface() {
        let request = http::Request::post("http://a.example/x?y=1")
            .header("spin-path-info", "/x")
            .body(Bytes::from_static(b"body"))
            .unwrap();
        let told = to_guest(request).unwrap();
        assert_eq!(told.uri, "/x?y=1");
        assert_eq!(told.headers, [("spin-path-info".into(), "/x".into())]);
        assert_eq!(told.body.as_deref(), Some(&b"body"[..]));
        let trace = http::Request::builder().method("TRACE").body(Bytes::new());
        assert!(to_guest(trace.unwrap()).is_none());
    }

    #[test]
    fn a_response_must_be_one() {
        let response = |status, name: &str| Response {
            status,
            headers: Some(vec![
                (name.to_owned(), "1".to_owned()),
                ("content-length".to_owned(), "7".to_owned()),
            ]),
            body: Some(b"body".to_vec()),
        };
        let translated = from_guest(response(201, "x-a")).unwrap();
        assert_eq!(translated.status(), 201);
        assert_eq!(translated.headers()["x-a"], "1");
        assert!(!translated.headers().contains_key("content-length"));
        assert!(from_guest(response(99, "x-a")).is_err());
        assert!(from_guest(response(200, "x a")).is_err());
    }
}
