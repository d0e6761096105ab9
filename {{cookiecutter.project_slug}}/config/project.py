"""The project's one place for names: `project.toml`, read as plain data."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Project:
    """What was answered when the project was generated."""

    name: str
    slug: str
    description: str
    author_name: str
    author_email: str
    domain: str
    region: str
    repository: str


def load(path: Path = BASE_DIR / "project.toml") -> Project:
    """Read `project.toml`. Raises `TypeError` for a missing or unknown key."""
    return Project(**tomllib.loads(path.read_text(encoding="utf-8"))["project"])
