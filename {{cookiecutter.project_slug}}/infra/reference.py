"""Writes the tables of configuration values and of exceptions into docs.

python reference.py            write it
python reference.py --check    fail if it is not what is written there
"""

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

from config import HERE, Project, load_environment
from profiles import PROFILES
from rules.acknowledgements import ACKNOWLEDGEMENTS

DOCS = HERE.parent / "docs"

MEANING = {
    "account": "12 digits; otherwise the account of your credentials",
    "domain": "production has the project's domain, the others one below it",
    "hosted_zone": '`{ id = "Z…", name = "example.com" }`: certificate and name are made in it',
    "certificate": "or the ARN of a certificate in ACM, in this region",
    "network.zones": "availability zones: 2 or 3",
    "network.letters": "which ones, and in which order",
    "network.cidr": "a private network of /16 to /20",
    "network.nat": "`none`, `one` or `per_zone`",
    "database.instance": "class of RDS, without `db.`",
    "database.multi_az": "a standby in another zone, which takes over by itself",
    "database.storage": "GiB at first",
    "database.max_storage": "GiB to which it grows by itself",
    "database.backup_days": "days of point-in-time recovery, 1 to 35",
    "database.login": "`password` or `iam`",
    "cache.node": "node type of ElastiCache",
    "cache.replicas": "0 to 5; with one or more it fails over by itself",
    "web.cpu": "CPU units of a task; 1024 are one vCPU",
    "web.memory": "MiB of a task, of which the proxy has 512",
    "web.minimum": "tasks at least",
    "web.maximum": "tasks at most",
    "web.spot": "all but one task on Fargate Spot: cheaper, and may be taken away",
    "worker.cpu": "as for `web`",
    "worker.memory": "as for `web`, without a proxy",
    "worker.minimum": "tasks at least",
    "worker.maximum": "tasks at most",
    "worker.spot": "as for `web`",
    "protect": "refuse to delete anything, and keep what outlives the stacks",
    "exec": "let people into running tasks (`make connect`)",
    "log_days": "how long logs are kept",
    "alarm_emails": "who gets the alarms",
    "monthly_budget": "US dollars; mails at 80 %, and if the month will end above it",
}


def values(thing: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every field, those of parts included."""
    hints = get_type_hints(type(thing))
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            yield from values(value, f"{path}{field.name}.")
        else:
            yield path + field.name, value


def configuration() -> str:
    """Return the rows of the configuration.

    Raises `KeyError` for a value that `MEANING` does not explain.
    """
    project = Project(
        name="Shop",
        slug="shop",
        domain="shop.example.com",
        region="eu-central-1",
        repository="example/shop",
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "environments.toml"
        file.write_text("".join(f'[environments.{n}]\nprofile = "{n}"\n' for n in PROFILES))
        of_profile = {
            name: dict(values(load_environment(name, project, PROFILES, file)))
            for name in ("dev", "staging", "production")
        }
    rows = [
        f"| `{key}` | {' | '.join(_shown(each[key]) for each in of_profile.values())} | "
        f"{MEANING[key]} |\n"
        for key in of_profile["dev"]
        if key != "name"
    ]
    return "".join(rows)


def _shown(value: Any) -> str:
    match value:
        case None | ():
            return ""
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def exceptions() -> str:
    """Return the rows of the findings that stay."""
    return "".join(
        f"| {', '.join(f'`{rule}`' for rule in each.rules)} | "
        f"{', '.join(f'`{place}`' for place in each.where)} | {each.reason} |\n"
        for each in ACKNOWLEDGEMENTS
    )


# The page, the head of its table, and what makes its rows.
TABLES: tuple[tuple[Path, str, Callable[[], str]], ...] = (
    (
        DOCS / "deployment.md",
        "| key | dev | staging | production | |\n|---|---|---|---|---|\n",
        configuration,
    ),
    (DOCS / "aws.md", "| rule | where | why it stays |\n|---|---|---|\n", exceptions),
)


def written(page: str, head: str, rows: str) -> str:
    """Return the page with these rows below the head. Raises `ValueError` without the head."""
    before, found, rest = page.partition(head)
    if not found:
        raise ValueError(f"There is no table that begins: {head.splitlines()[0]}")
    lines = rest.splitlines(keepends=True)
    while lines and lines[0].startswith("|"):
        lines.pop(0)
    return before + head + rows + "".join(lines)


def main() -> None:
    for file, head, rows in TABLES:
        page = file.read_text(encoding="utf-8")
        new = written(page, head, rows())
        if "--check" not in sys.argv[1:]:
            file.write_text(new, encoding="utf-8")
        elif new != page:
            sys.exit(f"{file.name} is out of date. Write it anew: make docs")


if __name__ == "__main__":
    main()
