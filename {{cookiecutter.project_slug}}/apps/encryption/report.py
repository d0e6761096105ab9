"""Results as a table for people and as data for programs."""

from collections.abc import Iterable
from typing import Any

from apps.encryption.hops import Hop
from apps.encryption.probes import Result

_COLUMNS = ("", "hop or store", "TLS", "cipher", "verified by", "until", "proofs")


def as_data(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One dictionary per result, made of JSON types only."""
    return [
        {
            "name": result.item.name,
            "title": result.item.title,
            "kind": "hop" if isinstance(result.item, Hop) else "store",
            "ok": result.ok,
            "tls": result.session.version if result.session else None,
            "cipher": result.session.cipher if result.session else None,
            "verified_by": result.session.issuer if result.session else None,
            "expires": result.session.expires.isoformat() if result.session else None,
            "proofs": [
                {"claim": proof.claim, "holds": proof.holds, "reason": proof.reason}
                for proof in result.proofs
            ],
        }
        for result in results
    ]


def as_table(results: Iterable[Result]) -> str:
    """An aligned text table, then a line for each proof that failed."""
    results = list(results)
    rows = [_COLUMNS, *(_row(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for result in results:
        for proof in result.proofs:
            if not proof.holds:
                because = f" ({proof.reason})" if proof.reason else ""
                lines.append(f"FALLS SHORT  {result.item.name}: not true: {proof.claim}{because}")
    return "\n".join(lines)


def _row(result: Result) -> tuple[str, ...]:
    session = result.session
    held = sum(proof.holds for proof in result.proofs)
    return (
        "ok" if result.ok else "NO",
        result.item.title,
        session.version if session else "-",
        session.cipher if session else "-",
        session.issuer if session else "-",
        f"{session.expires:%Y-%m-%d}" if session else "-",
        f"{held}/{len(result.proofs)}",
    )
