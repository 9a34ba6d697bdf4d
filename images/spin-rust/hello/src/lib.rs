//! Greets, and shows what Spin says of a request.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn hello(request: Request) -> impl IntoResponse {
    let mut reply = format!("hello from Rust: {} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        if name.as_str().starts_with("spin-") {
            reply += &format!("{name}: {}\n", value.to_str().unwrap_or("?"));
        }
    }
    reply
}
