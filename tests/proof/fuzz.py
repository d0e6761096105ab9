"""Random requests over raw connections: good ones of every page, with some bytes changed.

A seed makes a run repeatable. Whatever comes back, it is judged by the test.
"""

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes

from attacks import CHARSETS, FORM, MULTIPART, ODD, part
from raw_http import Answer, Edge, one_answer, request

METHODS = (
    "GET",
    "GET",
    "GET",
    "POST",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "QUERY",
)
HEADERS = (
    *("Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Expect", "If-Modified-Since"),
    *("If-None-Match", "If-Range", "Origin", "Range", "Referer", "TE", "Upgrade", "User-Agent"),
    *("X-CSRFToken", "X-Forwarded-For", "Forwarded", "X-Requested-With", "Content-Type"),
)
FIELDS = (
    *("title", "body", "delete_after", "upload", "remove_file", "next", "username", "password"),
    *("email", "password1", "old_password", "csrfmiddlewaretoken", "q", "page"),
)


@dataclass
class Results:
    """What came back of all requests."""

    sent: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    server_errors: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, kind: str, sent: bytes, answer: Answer) -> None:
        self.sent[kind] += 1
        self.answers[answer.word.split(" ")[0]] += 1
        if any(status >= 500 for status in answer.statuses):
            self.server_errors.append((answer.word, sent[:2000]))


class Fuzzer:
    """Makes requests to a site's pages, as somebody logged in or as a stranger."""

    def __init__(self, seed: int, paths: Sequence[str], visitors: Sequence[str], host: str) -> None:
        """`visitors` are headers that show who asks."""
        self.random = random.Random(seed)  # noqa: S311 (it must be repeatable, not secret)
        self.paths, self.visitors, self.host = paths, visitors, host

    def request(self) -> tuple[str, bytes]:
        """Return a kind and a request of it."""
        kind = self.random.choices(("page", "form", "bytes"), (3, 3, 4))[0]
        made: Callable[[], bytes] = getattr(self, f"_{kind}")
        return kind, made()

    def _page(self) -> bytes:
        """A page with an odd path, query or header."""
        some = self.random
        path = self._path()
        if some.random() < 0.5:
            path += "?" + some.choice(FIELDS) + "=" + quote_from_bytes(self._value())
        headers: list[str | bytes] = [some.choice(self.visitors)]
        for _ in range(some.randrange(3)):
            value = self._value()[:200].replace(b"\r\n", b" ")
            headers.append(some.choice(HEADERS).encode() + b": " + value)
        return request(path, *headers, method=some.choice(METHODS), host=self.host)

    def _form(self) -> bytes:
        """A form with odd fields, files or types."""
        some = self.random
        names = some.sample(FIELDS, some.randrange(1, 5))
        if some.random() < 0.5:
            kind = FORM
            pairs = (f"{name}={quote_from_bytes(self._value())}" for name in names)
            body = "&".join(pairs).encode()
        else:
            kind, body = MULTIPART, b""
            for name in names:
                disposition = b'name="' + name.encode() + b'"'
                if some.random() < 0.3:
                    disposition += b'; filename="' + self._value()[:300] + b'"'
                body += part(disposition, self._value())
            body += b"--limit--\r\n" if some.random() < 0.8 else b""
        if some.random() < 0.2:
            kind += f"; charset={some.choice(CHARSETS)}"
        who = some.choice(self.visitors)
        return request(self._path(), who, kind, method="POST", host=self.host, body=body)

    def _bytes(self) -> bytes:
        """A good request of which some bytes are changed, taken out, put in or doubled."""
        some = self.random
        sent = bytearray(self._page() if some.random() < 0.5 else self._form())
        for _ in range(some.randrange(1, 6)):
            at = some.randrange(len(sent))
            match some.randrange(4):
                case 0:
                    sent[at] = some.randrange(256)
                case 1:
                    del sent[at : at + some.randrange(1, 9)]
                case 2:
                    sent[at:at] = some.choice(
                        (b"\0", b"\r\n", b"\n", b":", b" ", b"%", b"\xff", b";")
                    )
                case _:
                    sent[at:at] = sent[at : at + some.randrange(1, 60)]
            if not sent:
                sent = bytearray(b"\0")
        return bytes(sent)

    def _path(self) -> str:
        some = self.random
        path = some.choice(self.paths)
        numbers = (str(some.randrange(10**4)), "0", "9" * 19, "-1")
        path = re.sub("{id}", lambda _: some.choice(numbers), path)
        return re.sub("{anything}", lambda _: quote_from_bytes(self._value()[:300]), path)

    def _value(self) -> bytes:
        some = self.random
        if some.random() < 0.5:
            return some.choice(list(ODD.values()))
        return some.randbytes(some.choice((0, 1, 3, 10, 100)))


def fuzz(edge: Edge, make: Callable[[int], Fuzzer], count: int, workers: int = 4) -> Results:
    """Send so many requests; each worker goes on over one connection while it is kept open."""
    results, lock = Results(), threading.Lock()

    def work(number: int) -> None:
        fuzzer = make(number)
        sock = None
        for _ in range(count // workers):
            kind, sent = fuzzer.request()
            if sock is None:
                sock = edge.connect(timeout=10)
            with suppress(OSError):
                sock.sendall(sent)
            # A request that lost its end waits for it; the application's log has all the same.
            patience = 0.25 if kind == "bytes" else 20
            answer = one_answer(sock, is_head=sent.startswith(b"HEAD "), patience=patience)
            if answer.closed or not answer.statuses or kind == "bytes":
                sock.close()
                sock = None
            with lock:
                results.add(kind, sent, answer)
        if sock is not None:
            sock.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
