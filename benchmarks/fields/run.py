"""Encrypted fields of several libraries against plain columns, in one table.

    run.py [ROWS...]        (10000 if none are given)

LIBRARIES (names of modules in libraries/) limits it, ROUNDS sets how often each measure
is repeated, RESULTS names a file for all numbers. Libraries come from PyPI at the versions of
uv.lock, each in an environment of its own; the database is a PostgreSQL server on a UNIX
socket. See docs/benchmarks.md.
"""

# ruff: noqa: S603, S607, T201 (a program that prints, and runs `sh` from PATH)

import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cluster import PROJECT, cluster

HERE = Path(__file__).resolve().parent
UV = HERE.parent.parent / "scripts" / "uv"
OURS = "fullcrypt"
LIBRARIES = (
    OURS,
    "searchable_encrypted_fields",
    "field_encryption",
    "secured_fields",
    "tink_fields",
)
HEADER = (
    "rows",
    "columns of",
    "Django",
    "bulk insert",
    "read",
    "exact lookup",
    "found by",
    "rotation",
    "on disk",
)


def install(library: str, environment: Path) -> None:
    """Make the environment of one library. Exits if that fails."""
    which = ["--project", PROJECT, "--no-dev"]
    if library != OURS:
        which = ["--project", HERE, "--only-group", library]
    done = subprocess.run(
        ["sh", UV, "sync", "--locked", "--quiet", *which],
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(environment)},
        check=False,
    )
    if done.returncode:
        sys.exit(f"bench: {library} could not be installed. PyPI, or a mirror of it, is needed.")


def measure(library: str, environment: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Run measure.py in an environment."""
    print(f"bench: {library}, {rows:,} rows", file=sys.stderr, flush=True)
    path = os.pathsep.join([str(HERE), *([str(PROJECT)] if library == OURS else [])])
    done = subprocess.run(
        [environment / "bin" / "python", HERE / "measure.py", library, str(rows), str(rounds)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"bench: {library} could not be measured; the reason is above.")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def per_second(seconds: float) -> str:
    return f"{1 / seconds:,.0f}/s"


def plain_line(result: dict[str, Any]) -> list[str]:
    """The absolute speed of plain columns, as one library's run found it."""
    lookup = result["lookup"]
    return [
        f"{result['rows']:,}",
        "plain columns",
        result["versions"]["Django"],
        per_second(result["insert"]["plain"]),
        per_second(result["read"]["plain"]),
        per_second(lookup["plain"]) if "plain" in lookup else "",
        scan(lookup["plain_plan"]) if "plain_plan" in lookup else "",
        "",
        f"{result['bytes']['plain'] / result['rows']:.0f} B/row",
    ]


def encrypted_line(result: dict[str, Any]) -> list[str]:
    """A library's ratios to the plain columns beside it."""
    lookup, rotation = result["lookup"], result["rotation"]
    return [
        f"{result['rows']:,}",
        f"{result['name']} {result['versions']['library']}".strip(),
        result["versions"]["Django"],
        f"{result['insert']['ratio']:.2f}x",
        f"{result['read']['ratio']:.2f}x",
        "fails*" if "failed" in lookup else f"{lookup['ratio']:,.2f}x",
        "" if "failed" in lookup else scan(lookup["plan"]),
        "fails*" if "failed" in rotation else f"{rotation['rate']:,.0f} rows/s",
        f"{result['bytes']['encrypted'] / result['bytes']['plain']:.2f}x",
    ]


def scan(plan: str) -> str:
    """How the database reaches the rows, from its plan."""
    kinds = re.findall(r"(Index Only Scan|Index Scan|Bitmap Index Scan|Seq Scan)", plan)
    return "index" if kinds and "Seq Scan" not in kinds else "reading all rows"


def table(lines: list[list[str]]) -> str:
    """Aligned text that is a Markdown table as well."""
    rows = [list(HEADER), *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    right = {0, *range(3, len(HEADER))} - {6}

    def line(row: list[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |"

    rule = (
        "-" * (width + 1) + (":" if column in right else "-") for column, width in enumerate(widths)
    )
    return "\n".join([line(rows[0]), f"|{'|'.join(rule)}|", *map(line, rows[1:])])


def notes(results: list[dict[str, Any]]) -> list[str]:
    """What failed, once for each library, as it was seen."""
    found = {}
    for result in results:
        for what in ("lookup", "rotation"):
            if "failed" in result[what]:
                said = result[what].get("said")
                found[result["name"], what] = result[what]["failed"] + (
                    f". It said: {said}" if said else ""
                )
    return [f"{name}: {what} failed: {why}" for (name, what), why in found.items()]


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (model := re.search(r"model name\s*: (.*)", info.read_text())):
        cpu = model[1]
    return f"{os.cpu_count()} cores of {cpu}"


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows = [int(argument) for argument in sys.argv[1:]] or [10_000]
    libraries = os.environ.get("LIBRARIES", " ".join(LIBRARIES)).split()
    if unknown := set(libraries) - set(LIBRARIES):
        sys.exit(f"bench: unknown in LIBRARIES: {' '.join(unknown)}. Known: {' '.join(LIBRARIES)}")
    rounds = int(os.environ.get("ROUNDS", "5"))
    results, lines = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, cluster() as address:
        os.environ |= address
        for library in libraries:
            install(library, Path(directory) / library)
        for count in rows:
            measured = [measure(name, Path(directory) / name, count, rounds) for name in libraries]
            results += measured
            lines += [plain_line(measured[0]), *map(encrypted_line, measured)]
    versions = results[0]["versions"]
    print(
        f"\n{machine()}; PostgreSQL {versions['PostgreSQL']}, Python {versions['Python']}, "
        f"psycopg {versions['psycopg']}; {rounds} rounds at most\n"
    )
    print(table(lines))
    by = {result["name"]: result["rotation"]["by"] for result in results}
    print("\nRotation: " + "; ".join(f"{name}: {how}" for name, how in by.items()))
    for note in notes(results):
        print(f"\n\\* {note}")
    if path := os.environ.get("RESULTS"):
        Path(path).write_text(json.dumps(results, indent=1))
    ours = [result for result in results if result["name"] == OURS]
    if any(scan(result["lookup"]["plan"]) != "index" for result in ours):
        sys.exit("bench: the lookup of fullcrypt does not use its index.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
