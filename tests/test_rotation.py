"""Keys rotate while people use the site: nothing fails, whatever happens to the rotation."""

import http.cookiejar
import json
import os
import re
import ssl
import subprocess
import threading
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from stack import NativeStack

pytestmark = [pytest.mark.slow, pytest.mark.native, pytest.mark.timeout(600)]

PASSWORD = "correct horse battery staple"  # noqa: S105
ROWS = 5000


class Visitor:
    """Somebody with cookies who uses the site over verified TLS."""

    def __init__(self, stack: NativeStack) -> None:
        self.site = stack.url
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=stack.ca)),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def see(self, path: str, **form: str) -> str:
        """Get a page, or send its form, and return the page that comes then."""
        token = {}
        if form:
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.see(path))
            assert found
            token = {"csrfmiddlewaretoken": found[1]}
        data = urllib.parse.urlencode(form | token).encode() if form else None
        request = urllib.request.Request(  # noqa: S310
            self.site + path, data, {"Referer": self.site + path}
        )
        with self._opener.open(request, timeout=60) as response:
            return str(response.read().decode())


def journey(stack: NativeStack) -> Iterator[tuple[str, bool]]:
    """What a visitor does, each step with whether it did what it should."""
    visitor, name = Visitor(stack), uuid4().hex
    address, passwords = f"{name}@Example.com", {"password1": PASSWORD, "password2": PASSWORD}
    yield "sign up", "Log out" in visitor.see("/accounts/signup/", email=address, **passwords)
    again = Visitor(stack).see("/accounts/signup/", email=address.upper(), **passwords)
    yield "address taken", "already an account" in again
    other = Visitor(stack)
    page = other.see("/accounts/login/", username=address.lower(), password=PASSWORD)
    yield "log in", "Log out" in page
    page = other.see("/notes/new/", title=name, body=f"<{name}>", delete_after="never")
    yield "write", name in page
    yield "read", f"&lt;{name}&gt;" in page
    yield "list", name in visitor.see("/notes/")


@contextmanager
def visitors(stack: NativeStack, count: int) -> Iterator[tuple[Counter[str], list[str]]]:
    """Let so many people use the site; count what worked, and note what did not."""
    done: Counter[str] = Counter()
    failed: list[str] = []
    gone = threading.Event()

    def visit() -> None:
        while not gone.is_set():
            try:
                for step, worked in journey(stack):
                    done[step] += 1
                    if not worked:
                        failed.append(step)
            except Exception as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=visit) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield done, failed
    finally:
        gone.set()
        for thread in threads:
            thread.join()


def write_notes(stack: NativeStack, count: int) -> None:
    stack.shell(
        "user, _ = User.objects.get_or_create(email='many@example.com')\n"
        "Note.objects.bulk_create("
        f"Note(owner=user, title=f'Note {{n}}', body='text ' * 20) for n in range({count}))"
    )


def keys(stack: NativeStack) -> dict[str, set[str]]:
    """The ids of the keys that the stored keyrings have, by purpose."""
    said = stack.shell(
        "import json\n"
        "from apps.keys.keyring import Purpose, keyring\n"
        "print(json.dumps({p: [k.hex() for k in keyring(p).keys] for p in Purpose}))"
    )
    return {purpose: set(ids) for purpose, ids in json.loads(said).items()}


def rotation(stack: NativeStack, *options: str) -> "subprocess.Popen[bytes]":
    command = [str(word) for word in stack.inside("release")]
    return subprocess.Popen(
        [*command, "python", "manage.py", "rotate_keys", *options],
        cwd=stack.project,
        env=stack.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def kill_when(process: "subprocess.Popen[bytes]", moment: str) -> None:
    """Read what a program says until it says this; then kill it, at once and for good."""
    said = ""
    assert process.stdout
    while not re.search(moment, said):
        read = os.read(process.stdout.fileno(), 4096)
        assert read, f"it ended without saying {moment}: {said}"
        said += read.decode()
    process.kill()
    process.wait()
    process.stdout.close()


def test_nobody_notices_a_rotation_even_if_it_is_killed(native: NativeStack) -> None:
    write_notes(native, ROWS)
    before = keys(native)
    with visitors(native, 3) as (done, failed):
        # Each run goes on with what the last one left.
        for moment in (
            "Made the fields key",
            r"notes_note: +[1-9]\d?%",
            "Searches now use the new index key",
        ):
            kill_when(rotation(native, "--batch-size", "100"), moment)
        last = rotation(native)
        said, _ = last.communicate(timeout=300)
        assert last.returncode == 0, said.decode()
    assert failed == []
    assert done["list"] > 0
    after = keys(native)
    for purpose, ids in after.items():
        assert len(ids) == 1
        assert ids.isdisjoint(before[purpose])
    for role in ("app", "worker", "scheduler"):
        assert native.verify(role).short == {}
    assert "0 of them not under the current keys" in native.manage("rotate_keys", "--dry-run")
    assert native.shell("print(Note.objects.filter(owner__email='MANY@example.com').count())") == (
        str(ROWS)
    )
