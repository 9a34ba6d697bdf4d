//! What a guest is told of an exchange that fails.

use std::error::Error as _;
use std::io;

use h2::Reason;
use wasmtime_wasi_http::Error;

/// It fails before there is a response.
pub(super) fn before_response(error: hyper::Error) -> Error {
    told(error, || Error::ConnectionTerminated)
}

/// It fails in the middle of one.
pub(super) fn after_response(error: hyper::Error) -> Error {
    told(error, || Error::HttpResponseIncomplete)
}

/// `gone` says it of a server that went away.
fn told(error: hyper::Error, gone: impl Fn() -> Error) -> Error {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(error) = source.downcast_ref::<h2::Error>() {
            return of_http2(error, gone);
        }
        if source.is::<io::Error>() {
            return gone();
        }
        cause = source.source();
    }
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return gone();
    }
    Error::Hyper(error)
}

fn of_http2(error: &h2::Error, gone: impl Fn() -> Error) -> Error {
    if error.is_io() {
        return gone();
    }
    // What we have found out ourselves is no HTTP/2, or too much of it.
    let Some(reason) = error.reason().filter(|_| error.is_remote()) else {
        return Error::HttpProtocolError;
    };
    match reason {
        // It has done nothing with the request, which may be sent again.
        Reason::REFUSED_STREAM | Reason::ENHANCE_YOUR_CALM => Error::DestinationUnavailable,
        Reason::HTTP_1_1_REQUIRED => Error::HttpUpgradeFailed,
        Reason::INADEQUATE_SECURITY => Error::TlsProtocolError,
        Reason::NO_ERROR if error.is_go_away() => gone(),
        Reason::NO_ERROR | Reason::CANCEL | Reason::INTERNAL_ERROR | Reason::CONNECT_ERROR => {
            Error::HttpResponseIncomplete
        }
        _ => Error::HttpProtocolError,
    }
}
