"""Swift's S3 API with the manners of SeaweedFS, as ``shared/FACTS.md`` §6 records them.

A prefix whose objects were all removed goes on being listed, as a common prefix and as its own child, and the first
write makes a missing bucket.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from http_servers import ClosingServer, served_at
from minio import Minio


@contextmanager
def seaweed_like(port: int, client: Minio) -> Iterator[str]:
    """Serve in front of the server at ``port``; ``client`` makes buckets there. Hands out the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, content = self._forward(body)
            bucket, _, key = urlsplit(self.path).path.strip("/").partition("/")
            if status == 404 and key and b"NoSuchBucket" in content:
                if self.command == "PUT":
                    client.make_bucket(bucket)
                    status, headers, content = self._forward(body)
                else:
                    content = content.replace(b"NoSuchBucket", b"NoSuchKey")
            if b"ListBucketResult" in content:
                content = self._with_empty_folders(content)
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            size = dict(headers).get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", size)
            self.end_headers()
            self.wfile.write(content)

        def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            server = http.client.HTTPConnection("127.0.0.1", port)
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            found = answer.status, answer.getheaders(), answer.read()
            server.close()
            return found

        def _with_empty_folders(self, content: bytes) -> bytes:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            prefix = query.get("prefix", [""])[0]
            if "delimiter" in query and query["delimiter"][0]:
                more = f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"
            else:
                more = (
                    f"<Contents><Key>{escape(prefix.rstrip('/'))}/</Key><LastModified>2026-01-01T00:00:00.000Z"
                    "</LastModified><ETag>d41d8cd98f00b204e9800998ecf8427e</ETag><Size>0</Size></Contents>"
                )
            return re.sub(rb"</ListBucketResult>", more.encode() + b"</ListBucketResult>", content)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    with served_at(ClosingServer(("127.0.0.1", 0), Handler)) as url:
        yield url
