#!/usr/bin/env python3
"""Writes the tables of hops and stores into docs/encryption.md.

    scripts/hop_table.py [--check]

They come from encryption.toml and stand between two marker lines. With --check
nothing is written; it exits 1 if the document is out of date.
"""

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "encryption.toml"
DOCUMENT = ROOT / "docs" / "encryption.md"
BEGIN = "<!-- hop table: written by scripts/hop_table.py from encryption.toml -->"
END = "<!-- end of hop table -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def code(names: str) -> str:
    """File names, separated by commas, as code."""
    return ", ".join(f"`{name}`" for name in names.split(", "))


def hop_table(hops: list[dict[str, Any]]) -> str:
    """One row for each hop."""
    rows = [
        (
            f"`{hop['name']}`",
            f"{', '.join(hop['from'])} to {hop['to']}",
            hop["protocol"] + (f"; TLS {hop['min_tls']} or newer" if "min_tls" in hop else ""),
            hop["verifies"],
            code(hop["enforced_by"]),
            ", ".join(hop["controls"]),
        )
        for hop in hops
    ]
    return table(("Hop", "From, to", "Protocol", "Verified", "Enforced by", "Controls"), rows)


def store_table(stores: list[dict[str, Any]]) -> str:
    """One row for each store."""
    rows = [
        (
            f"`{store['name']}`",
            store["title"],
            store["at_rest"],
            code(store["enforced_by"]),
            ", ".join(store["controls"]),
        )
        for store in stores
    ]
    return table(("Store", "What", "At rest", "Enforced by", "Controls"), rows)


def exceptions(entries: list[dict[str, Any]]) -> str:
    """What the entries do not give."""
    lines = [f"- `{each['name']}`: {each['exception']}" for each in entries if "exception" in each]
    return "\n".join(lines) or "- nothing is excepted."


def tables(listed: dict[str, Any]) -> str:
    """Everything that stands between the markers."""
    hops, stores = listed.get("hop", []), listed.get("store", [])
    aws_hops, aws_stores = listed.get("aws_hop", []), listed.get("aws_store", [])
    return "\n\n".join(
        [
            hop_table(hops),
            store_table(stores),
            "What a hop does not give:",
            exceptions(hops),
            "### On AWS",
            "There is more on AWS, built and checked by `infra/`:",
            hop_table(aws_hops),
            store_table(aws_stores),
            "What these do not give:",
            exceptions(aws_hops + aws_stores),
        ]
    )


def updated(document: str, listed: dict[str, Any]) -> str:
    """`document` with fresh tables. Raises `ValueError` if a marker is missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the lines '{BEGIN}' and '{END}' must both be there")
    return f"{before}{begin}\n\n{tables(listed)}\n\n{end}{after}"


def main(arguments: list[str]) -> int:
    """Write or check; return the exit status."""
    document = DOCUMENT.read_text(encoding="utf-8")
    try:
        new = updated(document, tomllib.loads(LIST.read_text(encoding="utf-8")))
    except ValueError as error:
        print(f"hop_table: {DOCUMENT}: {error}", file=sys.stderr)
        return 1
    if arguments != ["--check"]:
        DOCUMENT.write_text(new, encoding="utf-8")
    elif new != document:
        print(
            f"hop_table: {DOCUMENT} does not match encryption.toml. Run: make docs",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
