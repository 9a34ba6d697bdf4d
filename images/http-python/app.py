"""Answers HTTP requests: a GET with a greeting, a POST with its body in capitals."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        if isinstance(request.method(), Method_Post):
            text = read(request).decode(errors="replace").upper()
        else:
            text = f"hello from Python: {request.path_with_query()}\n"
        response = OutgoingResponse(Fields())
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            data = text.encode()
            for start in range(0, len(data), MOST):
                stream.blocking_write_and_flush(data[start : start + MOST])
        OutgoingBody.finish(body, None)


# The most that one write of wasi:io takes, in bytes.
MOST = 4096


def read(request: IncomingRequest) -> bytes:
    """The whole body of a request."""
    parts = []
    with request.consume() as body, body.stream() as stream:
        try:
            while True:
                parts.append(stream.blocking_read(64 * 1024))
        except Err as end:
            if not isinstance(end.value, StreamError_Closed):
                raise
    return b"".join(parts)
