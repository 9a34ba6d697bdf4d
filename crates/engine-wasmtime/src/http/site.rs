//! What answers a path: the one component of a container, or those of a Spin application by their routes.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use medley_spin::App;
use medley_spin::app::{self, StaticReply, Triggers};
use medley_spin::routes::{Match, Router, WELL_KNOWN};
use medley_spin::{Error, headers};

use super::body::ResponseBody;
use super::handler::Handler;
use super::request::own;

/// The server's own answer.
type Reply = Box<Response<ResponseBody>>;

/// What answers requests.
pub(super) enum Site {
    /// One component, all of them.
    One(Arc<Handler>),
    /// The components of an application.
    Application(Box<Routes>),
}

/// The routes of an application.
pub(super) struct Routes {
    router: Router,
    /// By the numbers of the application's triggers.
    targets: Vec<Target>,
    /// What is told of the application, as JSON.
    info: Bytes,
}

enum Target {
    Handler(Arc<Handler>),
    Reply(FixedReply),
}

/// The answer of a trigger without a component.
struct FixedReply {
    status: StatusCode,
    headers: HeaderMap,
    /// All answers share it.
    body: Bytes,
}

impl Routes {
    /// Those of `app`, whose components `handler` gives.
    pub(super) fn new(
        app: &App,
        handler: impl Fn(&str) -> Option<Arc<Handler>>,
    ) -> Result<Self, Error> {
        let Triggers::Http { base, triggers } = &app.triggers else {
            return Err(Error::NoTrigger);
        };
        let (router, _) = Router::new(base, triggers)?;
        let targets = triggers.iter().map(|trigger| match &trigger.handler {
            app::Handler::Static(reply) => Ok(Target::Reply(FixedReply::of(reply))),
            app::Handler::Component(id) => {
                let handler = handler(id).ok_or_else(|| Error::NoComponent {
                    trigger: trigger.id.clone(),
                    component: id.clone(),
                })?;
                Ok(Target::Handler(handler))
            }
        });
        Ok(Self {
            router,
            targets: targets.collect::<Result<_, Error>>()?,
            info: Bytes::from(app.info()),
        })
    }
}

impl Site {
    /// What answers a request, which is told of its route; or the answer, where the server gives it.
    pub(super) fn find<B>(
        &self,
        request: &mut Request<B>,
        client: SocketAddr,
    ) -> Result<&Arc<Handler>, Reply> {
        match self {
            Self::One(handler) => Ok(handler),
            Self::Application(routes) => routes.find(request, client),
        }
    }
}

impl Routes {
    fn find<B>(
        &self,
        request: &mut Request<B>,
        client: SocketAddr,
    ) -> Result<&Arc<Handler>, Reply> {
        let path = request.uri().path();
        match path.strip_prefix(WELL_KNOWN) {
            Some("health") => return Err(reply("text/plain", Bytes::from_static(b"OK"))),
            Some("info") => return Err(reply("application/json", self.info.clone())),
            Some(_) => return Err(not_found()),
            None => {}
        }
        let found = self.router.find(path);
        let found = found.ok_or_else(not_found)?;
        match self.targets.get(found.trigger) {
            Some(Target::Handler(handler)) => {
                let told = headers::headers(&told(request, client), &found);
                put(request, told);
                Ok(handler)
            }
            Some(Target::Reply(reply)) => Err(reply.answer()),
            None => Err(not_found()),
        }
    }
}

/// Tells a component of its route.
pub(super) fn tell<B>(request: &mut Request<B>, client: SocketAddr, found: &Match<'_>) {
    let told = headers::headers(&told(request, client), found);
    put(request, told);
}

/// A request, as far as its headers depend on it.
fn told<B>(request: &Request<B>, client: SocketAddr) -> headers::Request<'_> {
    let uri = request.uri();
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(http::uri::Authority::as_str);
    headers::Request {
        scheme: "http",
        host: authority.or(host).unwrap_or_default(),
        path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()),
        client: SocketAddr::new(client.ip().to_canonical(), client.port()),
    }
}

/// Puts what the component is told in the place of what the client has sent by these names.
fn put<B>(request: &mut Request<B>, told: Vec<(Cow<'static, str>, String)>) {
    let map = request.headers_mut();
    let forged: Vec<_> = map
        .keys()
        .filter(|name| name.as_str().starts_with(headers::PREFIX))
        .cloned()
        .collect();
    for name in forged {
        map.remove(name);
    }
    map.reserve(told.len());
    for (name, value) in told {
        let name = match name {
            Cow::Borrowed(name) => Ok(HeaderName::from_static(name)),
            Cow::Owned(name) => HeaderName::try_from(name),
        };
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            map.insert(name, value);
        }
    }
}

fn not_found() -> Reply {
    Box::new(own(StatusCode::NOT_FOUND))
}

fn reply(kind: &'static str, body: Bytes) -> Reply {
    let mut response = Response::new(ResponseBody::Own(Full::new(body)));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Box::new(response)
}

impl FixedReply {
    fn of(reply: &StaticReply) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &reply.headers {
            if let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_str(value),
            ) {
                headers.append(name, value);
            }
        }
        Self {
            status: StatusCode::from_u16(reply.status).unwrap_or_default(),
            headers,
            body: Bytes::from(reply.body.clone()),
        }
    }

    fn answer(&self) -> Reply {
        let mut response = Response::new(ResponseBody::Own(Full::new(self.body.clone())));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        Box::new(response)
    }
}
