//! Answers HTTP requests: a GET with a greeting, a POST with its body in capitals.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

struct Handler;

wasip2::http::proxy::export!(Handler);

impl Guest for Handler {
    fn handle(request: IncomingRequest, response_out: ResponseOutparam) {
        let text = match request.method() {
            Method::Post => read(&request).to_ascii_uppercase(),
            _ => {
                let path = request.path_with_query().unwrap_or_default();
                format!("hello from Rust: {path}\n").into_bytes()
            }
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("asked for once");
        ResponseOutparam::set(response_out, Ok(response));
        write(&body, &text);
        // A client that is gone does not hear of the end.
        let _ = OutgoingBody::finish(body, None);
    }
}

/// The whole body of a request, or as much of it as came.
fn read(request: &IncomingRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(body) = request.consume() {
        if let Ok(stream) = body.stream() {
            while let Ok(part) = stream.blocking_read(64 * 1024) {
                bytes.extend(part);
            }
        }
    }
    bytes
}

/// Writes until all is written or the client is gone.
fn write(body: &OutgoingBody, bytes: &[u8]) {
    /// The most that one write takes, in bytes.
    const MOST: usize = 4096;
    let stream = body.write().expect("asked for once");
    for part in bytes.chunks(MOST) {
        if let Err(StreamError::Closed | StreamError::LastOperationFailed(_)) =
            stream.blocking_write_and_flush(part)
        {
            return;
        }
    }
}
