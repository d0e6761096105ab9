"""The table of hops, processes and attacks in matrix.toml, and docs/attacks.md made from it.

python tests/proof/matrix.py    (writes the document)
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

TABLE = Path(__file__).parent / "matrix.toml"
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "attacks.md"

REFUSED, ACCEPTED, NOT_APPLICABLE = "refused", "accepted", "does not apply"


@dataclass(frozen=True)
class Answer:
    """What is expected, and why: for a refusal what the error must say (a regular expression)."""

    word: str
    reason: str

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `word: reason`. Raises `ValueError` for another word or without a reason."""
        word, _, reason = text.partition(": ")
        if word not in (REFUSED, ACCEPTED, NOT_APPLICABLE) or not reason:
            raise ValueError(f"{text!r} is no answer")
        return cls(word, reason)


@dataclass(frozen=True)
class Attack:
    """Something that is tried: on a client by a false server, or on a server by a bad client."""

    name: str
    on: str
    title: str
    otherwise: str = ""  # the answer of all those that answer nothing of their own


@dataclass(frozen=True)
class Cell:
    """One attack on one end of one hop."""

    hop: str
    attack: Attack
    process: str  # of the client
    program: str  # that is attacked
    server: str
    answer: Answer

    @property
    def subject(self) -> str:
        """The grid and the column of the printed matrix: a grid per hop, and one of servers."""
        if self.attack.on == "server":
            return f"bad clients: {self.hop} ({self.server})"
        return f"{self.hop}: {self.process} to {self.server}"

    def __str__(self) -> str:
        return "-".join((self.hop, self.process, self.attack.name)).replace(" ", "-")


STRANGER = "a stranger"


class Matrix:
    """Everything that matrix.toml says. Raises `ValueError` that names what is missing."""

    def __init__(self, path: Path = TABLE) -> None:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        self.attacks = [Attack(**entry) for entry in document["attack"]]
        self.hops: dict[str, dict[str, Any]] = document["hop"]
        self.commands: list[dict[str, Any]] = document["command"]
        self._answers: dict[str, dict[str, dict[str, str]]] = document["answers"]
        self.cells = list(self._cells())
        self._complain_about_the_useless()

    def answer(self, program: str, attack: Attack) -> Answer:
        """Return what a client or server is expected to do."""
        given = self._answers[attack.on].get(program, {}).get(attack.name) or attack.otherwise
        if not given:
            raise ValueError(f"matrix.toml: [answers.{attack.on}.{program}] lacks {attack.name}")
        return Answer.parse(given)

    def programs(self, side: str) -> list[str]:
        """Return the clients, or the servers, each once."""
        if side == "server":
            return list(dict.fromkeys(hop["server"] for hop in self.hops.values()))
        return list(dict.fromkeys(p for hop in self.hops.values() for p in hop["clients"].values()))

    def on(self, side: str) -> list[Attack]:
        return [attack for attack in self.attacks if attack.on == side]

    def _cells(self) -> Iterator[Cell]:
        for name, hop in self.hops.items():
            server = hop["server"]
            for process, client in hop["clients"].items():
                for attack in self.on("client"):
                    answer = self.answer(client, attack)
                    yield Cell(name, attack, process, client, server, answer)
            for attack in self.on("server"):
                answer = self.answer(server, attack)
                yield Cell(name, attack, STRANGER, server, server, answer)

    def _complain_about_the_useless(self) -> None:
        for side, programs in self._answers.items():
            known = {attack.name for attack in self.on(side)}
            for program, answers in programs.items():
                useless = set(answers) - known
                if useless or program not in self.programs(side):
                    raise ValueError(f"matrix.toml: {program} {sorted(useless)} is never tried")


# The document ------------------------------------------------------------------------------

MARK = {REFUSED: "refused", ACCEPTED: "**accepted**", NOT_APPLICABLE: "n/a"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _grid(matrix: Matrix, side: str) -> str:
    programs = matrix.programs(side)
    rows = [
        [attack.title, *(MARK[matrix.answer(each, attack).word] for each in programs)]
        for attack in matrix.on(side)
    ]
    return table(["", *programs], rows)


def _reasons(matrix: Matrix, side: str, word: str) -> str:
    """List each reason once, with all that have it."""
    titles: dict[tuple[str, str], list[str]] = {}
    for program in matrix.programs(side):
        for attack in matrix.on(side):
            answer = matrix.answer(program, attack)
            if answer.word == word:
                titles.setdefault((answer.reason, program), []).append(attack.title)
    programs: dict[tuple[str, str], list[str]] = {}
    for (reason, program), of_program in titles.items():
        programs.setdefault((reason, "; ".join(of_program)), []).append(program)
    return "\n".join(
        f"- {', '.join(names)}: {what}. Because {reason}."
        for (reason, what), names in programs.items()
    )


def _words(matrix: Matrix, side: str) -> str:
    rows = [
        [program, attack.title, f"`{answer.reason}`"]
        for program in matrix.programs(side)
        for attack in matrix.on(side)
        if (answer := matrix.answer(program, attack)).word == REFUSED
    ]
    return table(["Who refuses", "What", "What the error says"], rows)


INTRODUCTION = """\
# Attacks on every hop, and what answers them

<!-- Written by tests/proof/matrix.py from tests/proof/matrix.toml. -->

`tests/proof/test_matrix.py` tries every cell below against the running stack, with every
process that has the hop, and prints the matrix. A refusal must give the reason that stands
here: another one would be an accident. Before it, the same client reaches the same server
through the same attacker, who then changes nothing.
"""

CLIENTS = """\
## A false server, or an attacker on the path

The attacker sits between a process of the project and its server. The process opens a new
connection with its own client and its own settings; only the address is the attacker's.
Nothing that the client would say to its server may be heard.
"""

SERVERS = """\
## A bad client

A client that verifies nothing and speaks whatever it likes, at the real server.
"""

COMMANDS = """\
## Commands

Programs of the project that connect on their own, each with a relay on its way that has
another CA's certificate for the right name.
"""


def document(matrix: Matrix) -> str:
    """Return the text of docs/attacks.md."""
    hops = [
        [f"`{name}`", ", ".join(f"{p} ({c})" for p, c in hop["clients"].items()), hop["server"]]
        for name, hop in matrix.hops.items()
    ]
    commands = [
        [f"`{each['name']}`", f"`{each['hop']}`", f"`{Answer.parse(each['answer']).reason}`"]
        for each in matrix.commands
    ]
    parts = [INTRODUCTION, table(["Hop", "Processes (clients)", "Server"], hops)]
    for side, text in (("client", CLIENTS), ("server", SERVERS)):
        parts += [
            text,
            _grid(matrix, side),
            "Accepted, and why:",
            _reasons(matrix, side, ACCEPTED),
            "What does not apply (n/a), and why:",
            _reasons(matrix, side, NOT_APPLICABLE),
        ]
    parts += [COMMANDS, table(["Command", "Hop", "What the error says"], commands)]
    parts += ["## The words of the refusals", _words(matrix, "client"), _words(matrix, "server")]
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(Matrix()), encoding="utf-8")
