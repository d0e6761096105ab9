"""As much of S3 as an upload, a download and their retries need."""

import hashlib
import re
import ssl
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

from tests.encryption.servers import Server, Socket

_STARTED = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
_COMPLETED = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"


@dataclass
class Request:
    """One request, its body without the transfer's own framing."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


class ObjectServer(Server):
    """Keeps objects of the bucket `media`, by name, and every request.

    The next `failures` uploads, of an object or a part, are answered with the status 500;
    while it `denies`, all requests are answered with 403.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(context)
        self.objects: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.failures = 0
        self.denies = False
        self._parts: dict[int, bytes] = {}

    def talk(self, connection: Socket) -> None:
        with connection.makefile("rwb") as stream:
            request_line = stream.readline().decode().split()
            if not request_line:
                return
            headers = {}
            while line := stream.readline().decode().strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("expect") == "100-continue":
                stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                stream.flush()
            if headers.get("transfer-encoding") == "chunked":
                body = _content(BytesIO(b"".join(_chunks(stream))))
            else:
                body = stream.read(int(headers.get("content-length", 0)))
            url = urlsplit(request_line[1])
            query = parse_qs(url.query, keep_blank_values=True)
            path = url.path.removeprefix("/media/")
            request = Request(request_line[0], path, query, headers, body)
            self.requests.append(request)
            status, answered, content = self._answer(request)
            answered |= {"Connection": "close", "Content-Length": str(len(content))}
            lines = [f"{name}: {value}" for name, value in answered.items()]
            stream.write("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode())
            stream.write(b"" if request.method == "HEAD" else content)

    def _answer(self, request: Request) -> tuple[str, dict[str, str], bytes]:
        if self.denies:
            return "403 Forbidden", {}, b"<Error><Code>AccessDenied</Code></Error>"
        if request.method == "PUT" and self.failures:
            self.failures -= 1
            return "500 Internal Server Error", {}, b"<Error><Code>InternalError</Code></Error>"
        match request.method:
            case "PUT" if "partNumber" in request.query:
                self._parts[int(request.query["partNumber"][0])] = request.body
            case "PUT":
                self.objects[request.path] = request.body
            case "POST" if "uploads" in request.query:
                self._parts = {}
                return "200 OK", {}, _STARTED
            case "POST":
                parts = sorted(self._parts.items())
                self.objects[request.path] = b"".join(part for _, part in parts)
                return "200 OK", {}, _COMPLETED
            case "DELETE" if "uploadId" not in request.query:
                self.objects.pop(request.path, None)
            case "GET" | "HEAD":
                return self._send(request)
        return "200 OK", {"ETag": _etag(request.body)}, b""

    def _send(self, request: Request) -> tuple[str, dict[str, str], bytes]:
        content = self.objects.get(request.path)
        if content is None:
            return "404 Not Found", {}, b"<Error><Code>NoSuchKey</Code></Error>"
        headers = {"ETag": _etag(content)}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not wanted:
            return "200 OK", headers, content
        first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
        if first >= len(content):
            error = b"<Error><Code>InvalidRange</Code></Error>"
            return "416 Range Not Satisfiable", {}, error
        last = min(last, len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return "206 Partial Content", headers, content[first : last + 1]


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    """Chunks up to the empty one: https://www.rfc-editor.org/rfc/rfc9112#section-7.1"""
    while line := stream.readline():
        size = int(line, 16)
        if not size:
            return
        yield stream.read(size)
        stream.readline()
    raise ConnectionError("The upload broke off.")


def _content(framed: BufferedIOBase) -> bytes:
    """Take an upload out of botocore's frame, and compare the checksum that follows it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
    """
    content = b"".join(_chunks(framed))
    name, _, checksum = framed.readline().strip().partition(b":")
    assert name == b"x-amz-checksum-crc32"
    assert b64decode(checksum) == crc32(content).to_bytes(4)
    return content
