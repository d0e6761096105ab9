"""A real browser that trusts one CA more, and says what it does not like about a page."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    Playwright,
    Request,
    Response,
)

CHROMIUM = "/usr/bin/chromium"

# Neither is about the site. The next page was asked for early, or a page turned out to be a
# download; a container came or went, and Chromium dropped its connections.
_NOT_THE_SITE = ("net::ERR_ABORTED", "net::ERR_NETWORK_CHANGED")


def launch(playwright: Playwright, ca: Path, home: Path) -> Browser:
    """Start Debian's Chromium, headless, in a new home whose NSS database has the CA."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    nss = ("certutil", "-d", f"sql:{database}")
    subprocess.run([*nss, "-N", "--empty-password"], check=True)
    subprocess.run([*nss, "-A", "-t", "C,,", "-n", "development CA", "-i", ca], check=True)
    # Chromium's own sandbox does not work for root. It has nothing to do with TLS.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(
        executable_path=CHROMIUM, args=sandbox, env={**os.environ, "HOME": str(home)}
    )


def wait_for_quiet_network(seconds: float = 10) -> None:
    """Wait while the machine gets a new address; then Chromium drops its connections."""
    addresses, tentative = Path("/proc/net/if_inet6"), 0x40
    deadline = time.monotonic() + seconds
    while addresses.exists() and time.monotonic() < deadline:
        lines = addresses.read_text().splitlines()
        if not any(int(line.split()[4], 16) & tentative for line in lines):
            return
        time.sleep(0.1)


class Visit:
    """A page without JavaScript, all that went wrong on it, and the TLS of its responses."""

    def __init__(self, browser: Browser, site: str, **options: Any) -> None:
        """Open an empty page. `site` is the only origin that it may load from."""
        self.site = site
        self.problems: list[str] = []
        context = browser.new_context(base_url=site, java_script_enabled=False, **options)
        context.set_default_timeout(20_000)
        self.page: Page = context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if not any(error in message.text for error in _NOT_THE_SITE):
            self.problems.append(f"console: {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(f"{self.site}/"):
            self.problems.append(f"request to elsewhere: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure not in _NOT_THE_SITE:
            self.problems.append(f"failed: {request.url}: {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"status {response.status}: {response.url}")

    def go(self, address: str, tries: int = 3) -> Response:
        """Open a page of the site, and return the server's answer."""
        wait_for_quiet_network()
        try:
            response = self.page.goto(address)
        except Error as error:
            changed = "ERR_NETWORK_CHANGED" in error.message or "chrome-error:" in error.message
            if tries == 1 or not changed:
                raise
            time.sleep(1)
            return self.go(address, tries - 1)
        assert response is not None
        return response

    def fill(self, **fields: str) -> None:
        """Fill in a form's fields, by name, and send it."""
        wait_for_quiet_network()
        for name, value in fields.items():
            field = self.page.locator(f"main form [name={name}]")
            if field.get_attribute("type") == "file":
                field.set_input_files(value)
            else:
                field.fill(value)
        self.page.locator("main form button[type=submit]").click()

    def text(self) -> str:
        return self.page.locator("main").inner_text()

    def download(self, link: str) -> tuple[str, bytes]:
        """Follow the link; return the name and the content of the file it gives."""
        with self.page.expect_download() as download:
            self.page.get_by_role("link", name=link).click()
        return download.value.suggested_filename, download.value.path().read_bytes()
