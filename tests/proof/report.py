"""The proof's report: what each test tried, what it saw, and whether that is as expected.

A test adds lines through the fixture `evidence`; the outcome of a line is the test's own. The
report is written at the end of a session with `--report FOLDER`, as proof.json and proof.html.
"""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import pytest

# The sections of the report, by what a test calls them; report.html says what each shows.
SECTIONS = {
    "matrix": "Attack matrix",
    "network": "Network",
    "wire": "Wire",
    "mutants": "Mutants",
    "edge": "Bad input at the edge",
    "login": "Log-in and sessions",
    "images": "Images and containers",
    "repository": "Repository",
    "scanners": "Scanners",
}

# Outcomes in the report's words: was it as expected?
WORDS = {"passed": "yes", "failed": "NO", "skipped": "not run"}


@dataclass(frozen=True)
class Line:
    """One thing that was tried."""

    section: str
    subject: str
    tried: str
    expected: str
    seen: str
    test: str = ""
    outcome: str = ""

    @property
    def does_not_apply(self) -> bool:
        """Is it a cell of the matrix that makes no sense? Its expectation says why."""
        return self.expected.startswith("does not apply")


@dataclass
class Ran:
    """One test's outcome, and why if it did not pass."""

    id: str
    outcome: str
    seconds: float
    reason: str = ""


@dataclass
class Evidence:
    """What one test adds to the report."""

    lines: list[Line] = field(default_factory=list)
    figures: list[tuple[str, str, float]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def line(self, section: str, *, subject: str, tried: str, expected: str, seen: str) -> None:
        """Add a line. To be called before what is seen is asserted, so that it is there too."""
        if section not in SECTIONS:
            raise ValueError(f"{section!r} is no section of the report: {', '.join(SECTIONS)}")
        self.lines.append(Line(section, subject, tried, expected, seen))

    def figure(self, section: str, name: str, value: float) -> None:
        """Add to a number of the summary; those of several tests are added up."""
        self.figures.append((section, name, value))

    def version(self, name: str, version: str) -> None:
        """Say which version of a tool was used."""
        self.versions[name] = version


@dataclass
class Grid:
    """The cells of one hop by attack and client."""

    cells: dict[tuple[str, str], Line] = field(default_factory=dict)

    @property
    def attacks(self) -> list[str]:
        """The attacks that apply to any of the clients."""
        apply = (key for key, line in self.cells.items() if not line.does_not_apply)
        return list(dict.fromkeys(attack for attack, _ in apply))

    @property
    def clients(self) -> list[str]:
        return list(dict.fromkeys(client for _, client in self.cells))

    def answer(self, attack: str, client: str) -> str:
        """Return a cell in a word; one that is not as expected shouts."""
        line = self.cells.get((attack, client))
        if line is None:
            return ""
        word = line.expected.partition(":")[0]
        return word if line.outcome == "passed" else f"NOT {word}".upper()

    def text(self) -> str:
        """Return the grid as text, for a terminal."""
        width = max(len(attack) for attack in self.attacks)
        columns = [max(len(client), 14) for client in self.clients]
        rows = [("", self.clients)]
        rows += [
            (each, [self.answer(each, client) for client in self.clients]) for each in self.attacks
        ]
        return "\n".join(
            "  ".join(
                [
                    first.ljust(width),
                    *(word.ljust(size) for word, size in zip(words, columns, strict=True)),
                ]
            ).rstrip()
            for first, words in rows
        )


@dataclass
class Report:
    """Everything of one session."""

    project: Mapping[str, str] = field(default_factory=dict)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    tests: list[Ran] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    left_out: int = 0  # tests that the session was asked not to run

    def add(self, test: Ran, evidence: Evidence) -> None:
        """Take a test's outcome and what it added."""
        self.tests.append(test)
        for line in evidence.lines:
            self.lines.append(replace(line, test=test.id, outcome=test.outcome))
        for section, name, value in evidence.figures:
            of_section = self.figures.setdefault(section, {})
            of_section[name] = of_section.get(name, 0) + value
        self.versions |= evidence.versions

    @property
    def holds(self) -> bool:
        """Was everything tried, and all as expected?"""
        return {test.outcome for test in self.tests} == {"passed"} and not self.left_out

    def grids(self) -> dict[str, Grid]:
        """Return the attack matrix, a grid for each hop."""
        grids: dict[str, Grid] = {}
        for line in self.lines:
            if line.section == "matrix":
                hop, _, client = line.subject.partition(": ")
                grids.setdefault(hop, Grid()).cells[line.tried, client] = line
        return grids

    def document(self, requirements: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return everything as plain data. Each requirement names the `tests` that answer it."""
        ended = datetime.now(UTC)
        outcomes = Counter(test.outcome for test in self.tests)
        return {
            "project": dict(self.project),
            "begun": f"{self.begun:%Y-%m-%d %H:%M} UTC",
            "minutes": round((ended - self.begun).total_seconds() / 60, 1),
            "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
            "holds": self.holds,
            "outcomes": {outcome: outcomes[outcome] for outcome in WORDS},
            "left_out": self.left_out,
            "figures": self.figures,
            "versions": dict(sorted(self.versions.items())),
            "requirements": [{**each, **self._judge(each["tests"])} for each in requirements],
            "sections": {
                name: [asdict(line) for line in self.lines if line.section == name]
                for name in SECTIONS
            },
            "tests": [asdict(test) for test in self.tests],
        }

    def _judge(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the worst outcome of some tests, and how many ran. "proof" tests only run here."""
        found = [test.outcome for test in self.tests for name in names if is_one_of(test.id, name)]
        worst = min(found, key=["failed", "skipped", "passed"].index, default="skipped")
        return {"outcome": worst, "ran": len(found)}

    def write(self, folder: Path, requirements: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write proof.json and proof.html."""
        folder.mkdir(parents=True, exist_ok=True)
        document = self.document(requirements)
        (folder / "proof.json").write_text(json.dumps(document, indent=2) + "\n")
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        page = environment.get_template("report.html")
        (folder / "proof.html").write_text(
            page.render(document, titles=SECTIONS, grids=self.grids(), words=WORDS)
        )


def is_one_of(test: str, name: str) -> bool:
    """Is the test the one named, or that with some parameters, or in that class or file?"""
    return test == name or test.startswith((f"{name}[", f"{name}::"))


def outcome_of(phases: Sequence[pytest.TestReport]) -> tuple[str, str]:
    """Return the worst outcome of a test's phases, and its reason."""
    for outcome in ("failed", "skipped"):
        for phase in phases:
            if phase.outcome == outcome:
                return outcome, _reason(phase)
    return "passed", ""


def _reason(phase: pytest.TestReport) -> str:
    if isinstance(phase.longrepr, tuple):  # of a skipped test: file, line, reason
        return phase.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(phase.longrepr, "reprcrash", None)
    return str(crash.message if crash else phase.longrepr).partition("\n")[0][:300]
