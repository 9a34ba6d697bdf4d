//! An HTTP server on the sockets of WasmEdge: `POST /echo` gives the body back, `GET /` a greeting.
//! It listens on $PORT, 8080 if there is none.

use warp::http::Method;
use warp::Filter;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::var("PORT").ok();
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(8080);
    let greeting = warp::get()
        .and(warp::path::end())
        .map(|| "say something: POST /echo\n".to_owned().into_bytes());
    let echo = warp::path("echo")
        .and(warp::path::end())
        .and(warp::method())
        .and(warp::body::bytes())
        .map(|method, body: warp::hyper::body::Bytes| {
            if method == Method::POST {
                body.to_vec()
            } else {
                b"POST it\n".to_vec()
            }
        });
    println!("listening on port {port}");
    warp::serve(greeting.or(echo).unify())
        .run(([0, 0, 0, 0], port))
        .await;
}
