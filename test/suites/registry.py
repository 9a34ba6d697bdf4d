#!/usr/bin/env python3
"""A registry for suites that pull images by names of registries which are out of reach.

    registry.py add STORE NAME ROOTFS CONFIG     packs a directory into a one-layer image
    registry.py serve STORE ADDRESS PORT CERT    serves all images of the store, over TLS

NAME is a full reference (HOST/REPOSITORY:TAG), CONFIG the image's configuration as JSON. Owners and
modes are those of the files. The server answers what a pull asks (OCI distribution spec: manifests
and blobs), for whichever host it is asked as. CERT holds the certificate and its key.
"""

import hashlib
import http.server
import io
import json
import os
import platform
import ssl
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add_blob(store, content):
    """Keeps `content` and gives its descriptor's digest and size."""
    digest = hashlib.sha256(content).hexdigest()
    os.makedirs(f"{store}/blobs", exist_ok=True)
    with open(f"{store}/blobs/{digest}", "wb") as blob:
        blob.write(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def add(store, name, rootfs, config):
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for entry in sorted(os.listdir(rootfs)):
            archive.add(os.path.join(rootfs, entry), entry)
    layer = add_blob(store, layer.getvalue())
    machine = platform.machine()
    config = add_blob(store, json.dumps({
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": json.loads(config),
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }).encode())
    manifest = add_blob(store, json.dumps({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer}],
    }).encode())
    host, _, path = name.partition("/")
    repository, _, tag = path.partition(":")
    names = f"{store}/names/{host}/{repository}"
    os.makedirs(names, exist_ok=True)
    with open(f"{names}/{tag or 'latest'}", "w", encoding="ascii") as reference:
        reference.write(manifest["digest"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store = ""

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, body):
        path = self.path.partition("?")[0]
        if path == "/v2/":
            return self.send(200, b"{}", "application/json", body=body)
        parts = path.removeprefix("/v2/").rsplit("/", 2)
        if len(parts) != 3 or ".." in parts or parts[1] not in ("manifests", "blobs"):
            return self.send(404, b"{}", "application/json", body=body)
        repository, kind, reference = parts
        try:
            if not reference.startswith("sha256:"):
                host = self.headers.get("Host", "").partition(":")[0]
                with open(f"{self.store}/names/{host}/{repository}/{reference}", encoding="ascii") as named:
                    reference = named.read()
            with open(f"{self.store}/blobs/{reference.removeprefix('sha256:')}", "rb") as blob:
                content = blob.read()
        except OSError:
            return self.send(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "application/json", body=body)
        kind = MANIFEST if kind == "manifests" else "application/octet-stream"
        return self.send(200, content, kind, reference, body)

    def send(self, status, content, kind, digest=None, body=True):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format, *args):
        sys.stderr.write(f"{self.headers.get('Host') if hasattr(self, 'headers') else '-'} {format % args}\n")


def serve(store, address, port, certificate):
    Handler.store = store
    server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) == 6 and sys.argv[1] in ("add", "serve"):
        {"add": add, "serve": serve}[sys.argv[1]](*sys.argv[2:])
    else:
        sys.exit(__doc__)
