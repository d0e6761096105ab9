"""What users do with a new project: start it, use it in a browser, restart it, remove it."""

import os
import signal
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from authority import make_authority
from browser import CHROMIUM, Visit, launch
from conftest import ROOT
from playwright.sync_api import Browser, FloatRect, Playwright, ViewportSize, sync_playwright
from stack import (
    DockerStack,
    NativeStack,
    Stack,
    listens,
    require_native,
    require_programs,
    wait_until,
)

# Building images or installing packages may be part of it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PASSWORD = "correct horse battery staple"  # noqa: S105
IMAGES = ROOT / "docs" / "images"
BANNER: ViewportSize = {"width": 1000, "height": 410}
DESKTOP: ViewportSize = {"width": 1000, "height": 910}
PHONE: ViewportSize = {"width": 390, "height": 850}


def png(width: int, height: int) -> bytes:
    """Return a picture: a sky over the sea."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", checksum)

    rows = bytearray()
    for y in range(height):
        sky = y < height * 2 // 3
        colour = (90 + y * 150 // height, 150 + y * 70 // height, 220) if sky else (30, 95, 140)
        rows += b"\0" + bytes(colour) * width
    header = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    require_programs(CHROMIUM, "certutil")
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(
    stack: Stack, playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """Chromium that trusts the stack's own CA."""
    with launch(playwright, stack.ca, tmp_path_factory.mktemp("home")) as chromium:
        yield chromium


def picture_of(visit: Visit, stack: Stack, name: str, size: ViewportSize) -> None:
    """Renew a picture in docs/images, if asked to."""
    if os.environ.get("UPDATE_SCREENSHOTS") == "1" and stack.mode == "native":
        IMAGES.mkdir(parents=True, exist_ok=True)
        visit.page.set_viewport_size(size)
        top: FloatRect = {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}
        visit.page.screenshot(path=IMAGES / f"{name}.png", full_page=True, clip=top)


def sign_up(visit: Visit, email: str) -> None:
    visit.go("/accounts/signup/")
    visit.fill(email=email, password1=PASSWORD, password2=PASSWORD)
    assert f"You are logged in as {email}." in visit.text()


def log_out_and_in(visit: Visit, email: str) -> None:
    visit.page.get_by_role("button", name="Log out").click()
    assert "logged in" not in visit.text()
    visit.go("/notes/")
    assert visit.page.url.endswith("/accounts/login/?next=/notes/")
    visit.fill(username=email, password=PASSWORD)
    assert visit.page.url.endswith("/notes/")


def write_note(visit: Visit, title: str, file: Path) -> str:
    """Write a note with the picture attached; return where it is to be read."""
    visit.go("/notes/new/")
    visit.fill(title=title, body="Nobody but you can read this.", upload=str(file))
    assert "The note is saved." in visit.text()
    return visit.page.url


def see_thumbnail(visit: Visit) -> None:
    """Wait for it: the worker makes it, and the page reloads itself."""
    thumbnail = visit.page.locator("img.thumbnail")
    thumbnail.wait_for()
    assert thumbnail.evaluate("image => image.complete && image.naturalWidth > 0")
    assert "Ready" in visit.text()


def test_the_browser_would_complain(stack: Stack, browser: Browser) -> None:
    """The control of all tests below that expect a page without problems."""
    visit = Visit(browser, stack.url)
    policy = {"Content-Security-Policy": "style-src 'none'", "Content-Type": "text/html"}
    body = "<style>p { color: red }</style><img src='/nothing.png'><img src='http://localhost:1/'>"
    visit.page.route("**/bad", lambda route: route.fulfill(headers=policy, body=body))
    visit.go("/bad")
    visit.page.wait_for_timeout(500)  # events arrive while it waits
    said = "\n".join(visit.problems)
    assert "Content Security Policy" in said
    assert "status 404" in said
    assert "request to elsewhere: http://localhost:1/" in said


def test_the_browser_trusts_no_other_ca(
    stack: Stack, playwright: Playwright, tmp_path: Path
) -> None:
    with launch(playwright, make_authority(tmp_path / "ca").crt, tmp_path) as chromium:
        visit = Visit(chromium, stack.url)
        with pytest.raises(Exception, match="ERR_CERT_AUTHORITY_INVALID"):
            visit.go("/")


def test_journey(stack: Stack, browser: Browser, tmp_path: Path) -> None:
    """A note crosses every hop, and is still there after a restart of everything."""
    file = tmp_path / "holiday.png"
    file.write_bytes(png(1200, 800))
    email = f"journey-{stack.mode}@example.com"
    visit = Visit(browser, stack.url)

    visit.go("/")
    picture_of(visit, stack, "home", BANNER)
    sign_up(visit, email)
    log_out_and_in(visit, email)
    expiring = write_note(visit, "Gone soon", file)
    see_thumbnail(visit)
    address = write_note(visit, "Holiday by the sea", file)
    see_thumbnail(visit)
    assert visit.download("Download") == ("holiday.png", file.read_bytes())
    picture_of(visit, stack, "note", DESKTOP)
    picture_of(visit, stack, "note-phone", PHONE)

    expiring_id = int(expiring.rstrip("/").rpartition("/")[2])
    objects = stack.shell(
        "from django.utils import timezone\n"
        f"note = Note.objects.get(pk={expiring_id})\n"
        "print(note.attachment.file.name, note.attachment.thumbnail.name)\n"
        "Note.objects.filter(pk=note.pk).update(expires_at=timezone.now())"
    ).split()
    assert len(objects) == 2
    stack.restart()

    visit.go(address)  # still logged in
    assert "Holiday by the sea" in visit.text()
    see_thumbnail(visit)
    assert visit.download("Download") == ("holiday.png", file.read_bytes())
    log_out_and_in(visit, email)
    assert "Holiday by the sea" in visit.text()
    assert "Gone soon" not in visit.text()
    assert visit.problems == []

    # The page would hide an expired note; the scheduler has removed it.
    remaining = (
        "from django.core.files.storage import default_storage as storage\n"
        f"print(Note.objects.filter(pk={expiring_id}).count(),"
        f" [name for name in {objects} if storage.exists(name)])"
    )
    assert wait_until(lambda: stack.shell(remaining) == "0 []")
    unwatched = Visit(browser, stack.url, storage_state=visit.page.context.storage_state())
    assert unwatched.go(expiring).status == 404


def test_the_browser_sees_tls_13_and_our_ca(stack: Stack, browser: Browser) -> None:
    details = Visit(browser, stack.url).go("/").security_details()
    assert details is not None
    assert details["protocol"] == "TLS 1.3"
    subject = stack.run("openssl", "x509", "-in", stack.ca, "-noout", "-subject")
    assert str(details["issuer"]) in subject


def test_status_page(stack: Stack, browser: Browser) -> None:
    email = f"status-{stack.mode}@example.com"
    visit = Visit(browser, stack.url)
    sign_up(visit, email)

    unwatched = Visit(browser, stack.url, storage_state=visit.page.context.storage_state())
    assert unwatched.go("/encryption/").status == 403
    assert visit.page.get_by_role("link", name="Encryption status").count() == 0

    stack.shell(f"User.objects.filter(email={email!r}).update(is_staff=True)")
    visit.go("/")
    visit.page.get_by_role("link", name="Encryption status").click()
    for item in stack.listed:
        section = visit.page.locator("section", has_text=item["title"])
        assert section.locator("h2 .badge.ok").count() == 1
    assert visit.page.locator("h1 .badge.ok").count() == 1
    assert visit.page.locator(".badge.bad").count() == 0
    picture_of(visit, stack, "status", DESKTOP)
    assert visit.problems == []


def test_verify(stack: Stack) -> None:
    said = stack.run("make", "verify")
    for role in ("app", "worker", "scheduler"):
        names = [item["name"] for item in stack.listed if role in item["probed_from"]]
        assert f"All {len(names)} hops and stores of '{role}' hold" in said


@pytest.mark.docker
def test_docker_clean_leaves_nothing(docker: DockerStack) -> None:
    assert docker.leftovers() != []
    docker.run("docker", "compose", "stop")
    states = docker.run(
        "docker", "compose", "ps", "--all", "--format", "{{.Service}} {{.ExitCode}}"
    )
    # 137: it did not end when asked to, and was killed after ten seconds.
    assert [state for state in states.splitlines() if state.endswith(" 137")] == []
    docker.clean()
    assert docker.leftovers() == []


# Native mode -------------------------------------------------------------------------


def interrupt(stack: NativeStack, moment: Callable[[], object]) -> None:
    """Press Ctrl-C in `make up` at the moment."""
    terminal = subprocess.Popen(
        ["make", "up"],
        cwd=stack.project,
        env=stack.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # A terminal's own; a test run in the background would pass on that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert wait_until(lambda: moment() or terminal.poll() is not None, 60, every=0.002)
    assert terminal.poll() is None, "it ended before the moment came"
    os.killpg(terminal.pid, signal.SIGINT)
    said, _ = terminal.communicate(timeout=30)
    assert terminal.returncode != 0
    assert b"ready at" not in said


@pytest.mark.native
def test_native_ctrl_c_leaves_nothing_running(new_project: Callable[[], Path], tools: Path) -> None:
    require_native()
    stack = NativeStack(new_project(), tools)
    initdb, log = stack.state / "postgres.new" / "PG_VERSION", stack.state / "log"
    try:
        for moment in (
            initdb.exists,  # it prepares
            lambda: log.exists() and log.stat().st_size,  # it starts servers
            lambda: log.exists() and " app.1 " in log.read_text(),  # it waits
        ):
            log.unlink(missing_ok=True)
            interrupt(stack, moment)
            assert wait_until(lambda: not stack.processes(), 20), stack.processes()
            assert not [port for port in stack.ports if listens(port)]
        stack.up()
        stack.clean()
        assert stack.leftovers() == []
    finally:
        stack.destroy()
