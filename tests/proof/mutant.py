"""What a mutant is: a project with one protection less, and what must notice that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """A change of a file. The old text must be there exactly once, or nothing would be removed."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Leaf:
    """A server's certificate, other than it should be."""

    name: str = "localhost"
    days: int = 30
    own_ca: bool = True


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """What is changed, which protection is lost by it, and who must find out.

    covers   hops and stores of encryption.toml, and checks ("E002"), that the mutant is about
    tests    tests of the project: each must fail
    server   a server of the mutant that runs beside the healthy stack, in place of its own,
             with `leaf` as its certificate, and with variables `env` for who talks to it
    seed     whether the mutant fills the stand-in for AWS anew
    short    hops and stores that `verify_encryption` must name, the first one for `claim`
    check    the system check that must keep the processes `starts` from starting
    """

    name: str
    protection: str
    covers: Sequence[str] = ()
    edits: Sequence[Edit] = ()
    tests: Sequence[str] = ()
    server: str = ""
    leaf: Leaf | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    seed: bool = False
    short: Sequence[str] = ()
    claim: str = ""
    check: str = ""
    starts: Sequence[str] = ()

    @property
    def needs_stack(self) -> bool:
        """Does a running stack find it, and not only the project's tests?"""
        return bool(self.short or self.check)


def in_tests(module: str, *names: str) -> tuple[str, ...]:
    """Return the ids of tests of one module of the project."""
    return tuple(f"tests/{module}.py::{name}" for name in names)


def misfit(mutant: Mutant, project: Path) -> str:
    """Return why a mutant cannot be made of a project, or nothing if it can."""
    for edit in mutant.edits:
        file = project / edit.file
        count = file.read_text().count(edit.old) if file.is_file() else 0
        if count != 1:
            return f"{edit.file} has {edit.old!r} {count} times, not once"
    for test in mutant.tests:
        module, _, name = test.partition("::")
        file = project / module
        if not file.is_file() or f"def {name.partition('[')[0]}(" not in file.read_text():
            return f"there is no test {test}"
    return ""
