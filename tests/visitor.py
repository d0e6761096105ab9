"""The site as its users and its staff use it, with a value of its own in every input."""

import hashlib
import html
import http.cookiejar
import re
import secrets
import ssl
import struct
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from canaries import canary
from stack import Stack, wait_until


@dataclass(frozen=True)
class Upload:
    """A file to send in a form."""

    name: str
    content: bytes


class Site:
    """A client that keeps cookies, and nothing on the disk as a browser would."""

    def __init__(
        self, stack: Stack, headers: Mapping[str, str] = MappingProxyType({}), url: str = ""
    ) -> None:
        """Visit a stack's site for the first time, at `url` if that is not the stack's own.

        `headers` go with every request that does not set them itself.
        """
        self._url = url or stack.url
        self.cookies = http.cookiejar.CookieJar()
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=stack.ca))
        cookies = urllib.request.HTTPCookieProcessor(self.cookies)
        # An empty one: no proxy, whatever the machine's settings.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls, cookies)
        self._opener.addheaders = list(headers.items())

    def get(self, path: str) -> bytes:
        """Return a page's or a file's content. Raises `HTTPError` for status 400 and above."""
        return self._open(urllib.request.Request(self._url + path))[1]  # noqa: S310

    def post(self, path: str, **fields: str | Upload) -> tuple[str, str]:
        """Fill in and send a page's form; return the path of the page that follows, and it."""
        page = self.get(path).decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token, f"{path} has no form"
        boundary = secrets.token_hex()
        body = b"".join(
            _part(boundary, name, value)
            for name, value in {"csrfmiddlewaretoken": token[1], **fields}.items()
        )
        kind = f"multipart/form-data; boundary={boundary}"
        request = urllib.request.Request(  # noqa: S310
            self._url + path,
            body + f"--{boundary}--\r\n".encode(),
            {"Content-Type": kind, "Referer": self._url + path},
        )
        url, content = self._open(request)
        return urllib.parse.urlsplit(url).path, html.unescape(content.decode())

    def _open(self, request: urllib.request.Request) -> tuple[str, bytes]:
        with self._opener.open(request, timeout=30) as response:
            return response.url, response.read()

    def log_in(self, email: str, password: str) -> str:
        """Try to log in; return the page that follows."""
        return self.post("/accounts/login/", username=email, password=password)[1]

    def write(self, path: str, title: str, body: str, upload: Upload) -> str:
        """Write or change a note, and wait until its file has been read; return its path."""
        path, page = self.post(path, title=title, body=body, upload=upload, delete_after="never")
        assert "The note is saved." in page
        assert wait_until(lambda: b"Reading the file" not in self.get(path), every=0.2)
        return path

    def link(self, path: str, target: str) -> str:
        """Return the address on a page that matches, such as a note's file."""
        found = re.search(rf'(?:href|src)="({target})"', self.get(path).decode())
        assert found, f"{path} has no {target}"
        return found[1]


def _part(boundary: str, name: str, value: str | Upload) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
    if isinstance(value, Upload):
        head += f'; filename="{value.name}"\r\nContent-Type: application/octet-stream'
    content = value.content if isinstance(value, Upload) else value.encode()
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def picture(comment: str) -> bytes:
    """Return a PNG of noise, which no compression makes shorter, with a text in it."""
    width, height = 640, 480

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", checksum)

    rows = b"".join(b"\0" + secrets.token_bytes(width) for _ in range(height))
    header = struct.pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    text = b"Comment\0" + comment.encode()
    parts = ((b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


class Values(dict[str, bytes]):
    """Values to search for, by what they are."""

    def new(self, name: str) -> str:
        """Return a new random value, and remember it."""
        value = canary()
        self[name] = value.encode()
        return value

    def email(self, name: str) -> str:
        return f"{self.new(name)}@example.com"

    def file(self, name: str, content: Callable[[str], bytes]) -> Upload:
        """Return a file with two new values: its name, and one in its content."""
        upload = Upload(f"{self.new(f'{name}, name')}.bin", content(self.new(f"{name}, content")))
        self[f"{name}, SHA-256"] = hashlib.sha256(upload.content).digest()
        md5 = hashlib.md5(upload.content, usedforsecurity=False)
        self[f"{name}, MD5"] = md5.hexdigest().encode()
        return upload


def large(value: str) -> bytes:
    """Return more than is kept in memory, with the value at the beginning, middle and end."""
    filling = secrets.token_bytes(1024 * 1024)
    return value.encode() + filling + value.encode() + filling + value.encode()


def use(stack: Stack, visit: Callable[[], Site] | None = None) -> Values:
    """Do what users and staff do, with a value of its own for each input; return them all.

    `visit` makes a visitor who comes for the first time. What the sample app does is left out
    where a team has removed it.
    """
    visit = visit or (lambda: Site(stack))
    values = Values()
    visitor = visit()
    email, password = values.email("sign-up, e-mail"), values.new("sign-up, password")
    visitor.post("/accounts/signup/", email=email, password1=password, password2=password)
    visitor = visit()
    failed = values.email("failed log-in, e-mail"), values.new("failed log-in, password")
    assert "is wrong" in visitor.log_in(*failed)
    assert email in visitor.log_in(email, password)
    if (stack.project / "apps/notes").is_dir():
        _write_notes(visitor, values)
    _administer(stack, visit, values)
    return values


def _write_notes(visitor: Site, values: Values) -> None:
    # So long, and so much of the same, that PostgreSQL compresses it.
    body = values.new("body") + " It is all the same to me." * 200
    text = values.file("text file", lambda value: value.encode())
    note = visitor.write("/notes/new/", values.new("title"), body, text)
    assert visitor.get(visitor.link(note, r"/notes/files/\d+/")) == text.content

    changed = values.new("changed title"), values.new("changed body")
    upload = values.file("picture", picture)
    visitor.write(f"{note}edit/", *changed, upload)
    small = visitor.get(visitor.link(note, r"/notes/files/\d+/thumbnail/"))
    values["thumbnail"] = small[len(small) // 2 :][:96]

    upload = values.file("large file", large)
    other = visitor.write("/notes/new/", values.new("other title"), "", upload)
    assert visitor.get(visitor.link(other, r"/notes/files/\d+/")) == upload.content

    damaged = values.file("damaged picture", lambda value: picture(value)[:1000])
    visitor.write("/notes/new/", values.new("title of a damaged picture"), "", damaged)

    gone = values.file("file of a deleted note", lambda value: value.encode())
    said = values.new("title of a deleted note"), values.new("body of a deleted note")
    deleted = visitor.write("/notes/new/", *said, gone)
    assert "The note is deleted." in visitor.post(f"{deleted}delete/")[1]


def _administer(stack: Stack, visit: Callable[[], Site], values: Values) -> None:
    staff, password = values.email("staff, e-mail"), values.new("staff, password")
    twice = values.email("e-mail of two sign-ups at once")  # a server may log what it refuses
    stack.shell(
        "from contextlib import suppress\n"
        "from django.db import IntegrityError\n"
        f"User.objects.create_superuser({staff!r}, {password!r})\n"
        f"User.objects.create_user({twice!r})\n"
        f"with suppress(IntegrityError):\n    User.objects.create_user({twice!r})"
    )
    admin = visit()
    admin.log_in(staff, password)
    users = "/admin/users/user/"
    added, given = values.email("e-mail of a user whom staff add"), values.new("password by staff")
    fields = {"email": added, "password1": given, "password2": given}
    user = admin.post(f"{users}add/", **fields, usable_password="true")[0]  # noqa: S106
    renamed = values.email("e-mail that staff set")
    assert admin.post(user, email=renamed, is_active="on")[0] == users
    searched = values.new("e-mail that staff search for")
    assert "0 users" in admin.get(f"{users}?q={searched}").decode()
    found = admin.link(f"{users}?q={urllib.parse.quote(renamed)}", rf"{user}[^\"]*")
    assert renamed in admin.get(html.unescape(found)).decode()
    admin.post(user.replace("/change/", "/delete/"), post="yes")
    admin.get("/admin/")


def secrets_of(stack: Stack) -> Values:
    """Return the secrets of .env."""
    values = {name: value for name, value in stack.secrets.items() if "PORT" not in name}
    return Values((name, value.encode()) for name, value in values.items())


def data_keys_of(stack: Stack) -> Values:
    """Return the data keys, which the application holds in memory only."""
    said = stack.shell(
        "from apps.keys.keyring import Purpose, keyring\n"
        "for purpose in Purpose:\n"
        "    for number, key in enumerate(keyring(purpose).keys.values()):\n"
        "        print(f'{purpose}{number}', key._secret.hex())"
    )
    pairs = (line.split() for line in said.splitlines())
    return Values((f"data key {name}", bytes.fromhex(secret)) for name, secret in pairs)
