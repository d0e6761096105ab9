"""What every test here may use: a clean copy of the template, and projects baked from it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

pytest_plugins = ["stack", "reporter"]

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE_FOLDER = "{{cookiecutter.project_slug}}"

# Ids of the tests that may be skipped with CI=true. Any other skip there fails the session.
ALLOWED_SKIPS: frozenset[str] = frozenset()


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "prove a copy of this project instead of one with the default answers"
    parser.getgroup("proof").addoption("--project", type=Path, help=text)


def visible_to_git(folder: Path, *parts: str) -> list[Path]:
    """Return the files of a folder, or of parts of it, that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *parts]
    listing = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE)
    names = map(Path, listing.stdout.decode().rstrip("\0").split("\0"))
    return [name for name in names if (folder / name).is_file()]


def copy_files(names: Iterable[Path], folder: Path, copy: Path) -> None:
    """Copy files of a folder, which are named relative to it."""
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, copy / name)


def copy_project(project: Path, copy: Path) -> None:
    """Copy a generated project: no secrets and no environment, as a clone of it would be."""
    try:
        names = visible_to_git(project)
    except subprocess.CalledProcessError:
        names = []
    if not names:  # it is in no repository, or in one that ignores it
        own = shutil.ignore_patterns(".venv", ".local", ".env", ".git", "*_cache", "__pycache__")
        shutil.copytree(project, copy, ignore=own)
    copy_files(names, project, copy)


class Bake(Protocol):
    """Run `cookiecutter` as a person would; see `bake`."""

    def __call__(
        self,
        output: Path,
        answers: Sequence[str] = ...,
        *,
        options: Sequence[str] = ...,
        template: Path | None = ...,
        cwd: Path = ...,
        path: str = ...,
        umask: int = ...,
        stdin: str | None = ...,
        prefix: Sequence[str] = ...,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template as a clone would have it, without what git ignores."""
    copy = tmp_path_factory.mktemp("template") / "fullcrypt"
    copy_files(visible_to_git(ROOT, "cookiecutter.json", "hooks", TEMPLATE_FOLDER), ROOT, copy)
    return copy


@pytest.fixture(scope="session")
def given_project(pytestconfig: pytest.Config) -> Path | None:
    """The project that --project names."""
    path: Path | None = pytestconfig.getoption("--project")
    if path and not (path / "encryption.toml").is_file():
        pytest.fail(f"{path} is no generated project: it has no encryption.toml", pytrace=False)
    return path and path.resolve()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the person who runs `bake`: no settings of the tester's own."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def bake(template: Path, home: Path) -> Bake:
    """Run the real command in a process of its own; answers are `name=value`.

    Without `stdin` it asks nothing. `path` replaces PATH; `prefix` is a command to run it with.
    """
    clean_template = template

    def run(
        output: Path,
        answers: Sequence[str] = (),
        *,
        options: Sequence[str] = (),
        template: Path | None = None,
        cwd: Path = ROOT,
        path: str = os.environ["PATH"],
        umask: int = 0o022,
        stdin: str | None = None,
        prefix: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        asking = [] if stdin else ["--no-input"]
        command = [sys.executable, "-m", "cookiecutter", *asking, *options, "-o", str(output)]
        return subprocess.run(
            [*prefix, *command, str(template or clean_template), *answers],
            cwd=cwd,
            # Cookiecutter leaves a rendered copy of each hook in TMPDIR.
            env={
                "HOME": str(home),
                "LANG": "C.UTF-8",
                "PATH": path,
                "PWD": str(cwd),
                "TMPDIR": str(home),
            },
            input=stdin,
            capture_output=True,
            text=True,
            umask=umask,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def project(
    template: Path,
    cookies_session: Any,
    given_project: Path | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A project with the default answers or the one given, for tests to read and none to change."""
    if given_project:
        copy = tmp_path_factory.mktemp("project") / given_project.name
        copy_project(given_project, copy)
        return copy
    result = cookies_session.bake(template=str(template))
    assert result.exception is None, result.exception
    return Path(result.project_path)


@pytest.fixture
def own_project(bake: Bake, tmp_path: Path) -> Path:
    """A project with the default answers, for one test to do with as it likes."""
    result = bake(tmp_path)
    assert result.returncode == 0, result.stderr
    return tmp_path / "my-project"


class SkipGuard:
    """Fail a session in CI in which a test was skipped that is not in `ALLOWED_SKIPS`."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed = allowed
        self.unexpected: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and report.nodeid not in self.allowed:
            self.unexpected.append(report.nodeid)

    pytest_runtest_logreport = note
    pytest_collectreport = note

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        # Before the terminal reporter's own part, which prints what the exit status will be.
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.unexpected:
            terminalreporter.write_line(f"unexpected skip in CI: {nodeid}", red=True)


# A busy machine is no failure.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(SkipGuard(ALLOWED_SKIPS), "skip-guard")
