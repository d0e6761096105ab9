"""The pytest plugin that collects the report of the proof; `tests/conftest.py` loads it."""

import subprocess
import tomllib
from collections.abc import Generator
from pathlib import Path

import pytest
from asvs import requirements
from report import Evidence, Ran, Report, outcome_of

FOLDER = Path(__file__).parent

_EVIDENCE = pytest.StashKey[Evidence]()
_PHASES = pytest.StashKey[list[pytest.TestReport]]()


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """What the test adds to the report."""
    added: Evidence = request.node.stash[_EVIDENCE]
    return added


@pytest.fixture(scope="session")
def foreign(given_project: Path | None) -> bool:
    """Is it the project of somebody, who may have changed everything?"""
    return given_project is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "folder for the report of tests/proof: proof.html and proof.json"
    parser.getgroup("proof").addoption("--report", type=Path, help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config), "proof")


class Reporter:
    """Collects what the tests of this folder did, writes the report, prints the matrix."""

    def __init__(self, config: pytest.Config) -> None:
        self.report = Report()
        self.folder: Path | None = config.getoption("--report")
        self.project: Path | None = config.getoption("--project", None)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.report.left_out += sum(item.path.is_relative_to(FOLDER) for item in items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        item.stash[_EVIDENCE], item.stash[_PHASES] = Evidence(), []
        done = yield
        if item.path.is_relative_to(FOLDER):
            phases = item.stash[_PHASES]
            outcome, reason = outcome_of(phases)
            seconds = round(sum(phase.duration for phase in phases), 2)
            self.report.add(Ran(item.nodeid, outcome, seconds, reason), item.stash[_EVIDENCE])
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        phase = yield
        item.stash[_PHASES].append(phase)
        return phase

    def pytest_sessionfinish(self) -> None:
        if self.folder and self.report.tests:
            self.report.project = _about(self.project)
            self.report.write(self.folder, requirements())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for hop, grid in self.report.grids().items():
            terminalreporter.write_line(f"\n{hop}\n{grid.text()}")
        if self.folder and self.report.tests:
            terminalreporter.write_line(f"report: {self.folder / 'proof.html'}")


def _about(project: Path | None) -> dict[str, str]:
    """Say which project it is: its names, and the commit that was proved."""
    if project is None:
        return {"name": "a project with the default answers", "commit": commit(FOLDER)}
    document = tomllib.loads((project / "project.toml").read_text())
    return {"name": document["project"]["name"], "commit": commit(project)}


def commit(folder: Path) -> str:
    """Return a folder's commit, with "+" if it was changed since, or nothing outside of git."""
    said = [
        subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain"))
    ]
    if any(each.returncode for each in said):
        return ""
    return said[0].stdout.strip() + ("+" if said[1].stdout.strip() else "")
