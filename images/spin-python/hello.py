"""Greets, and shows what Spin says of a request."""

from spin_sdk import http
from spin_sdk.http import Request, Response


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        lines = [f"hello from Python: {request.method} {request.uri}"]
        said = sorted(request.headers.items())
        lines += [f"{name}: {value}" for name, value in said if name.startswith("spin-")]
        return Response(200, {"content-type": "text/plain"}, ("\n".join(lines) + "\n").encode())
