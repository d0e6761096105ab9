"""The list of hops and stores in `encryption.toml`, as data."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One network connection of the system; the file explains each key."""

    name: str
    title: str
    to: str
    protocol: str
    min_tls: str
    verifies: str
    enforced_by: str
    probe: str
    origins: tuple[str, ...]
    probed_from: tuple[str, ...]
    controls: tuple[str, ...]
    exception: str = ""


@dataclass(frozen=True, kw_only=True)
class Store:
    """One place where data rests."""

    name: str
    title: str
    at_rest: str
    enforced_by: str
    probe: str
    probed_from: tuple[str, ...]
    controls: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EncryptionList:
    """Everything that must be encrypted."""

    hops: tuple[Hop, ...] = field(default_factory=tuple)
    stores: tuple[Store, ...] = field(default_factory=tuple)

    def __iter__(self) -> Iterator[Hop | Store]:
        """The hops, then the stores."""
        yield from self.hops
        yield from self.stores


def _fields(entry: dict[str, object]) -> dict[str, object]:
    renamed = {"origins" if key == "from" else key: value for key, value in entry.items()}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in renamed.items()}


def load(path: Path | None = None) -> EncryptionList:
    """Read the list, by default from `settings.ENCRYPTION_HOPS_FILE`.

    Raises `ValueError` that names the file and the entry for a missing or unknown
    key, a repeated name or an empty list: an empty list would prove nothing.
    """
    path = path or settings.ENCRYPTION_HOPS_FILE
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        hops = tuple(Hop(**_fields(entry)) for entry in document.get("hop", []))  # type: ignore[arg-type]
        stores = tuple(Store(**_fields(entry)) for entry in document.get("store", []))  # type: ignore[arg-type]
    except (AttributeError, TypeError) as error:  # AttributeError: [hop] for [[hop]]
        raise ValueError(f"{path}: {error}") from error
    listed = EncryptionList(hops=hops, stores=stores)
    names = [item.name for item in listed]
    if not hops:
        raise ValueError(f"{path} lists no hop.")
    if len(names) != len(set(names)):
        raise ValueError(f"{path} uses a name twice: {sorted(names)}.")
    return listed
