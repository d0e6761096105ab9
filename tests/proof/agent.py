"""Runs inside the project as one of its processes and opens hops, again and again.

    python agent.py    (in the project's folder, with the environment of a role)

Reads names of hops from standard input, one a line. For each it opens a new connection through
the project's own client, as `config.settings` configures it, uses it, and writes one line of
JSON: null, or the error as text.
"""

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any


def openers() -> tuple[dict[str, Callable[[], None]], Callable[[], None]]:
    """Load the settings, which ask for secrets; return how hops are opened, and closed."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109

    import botocore.endpoint
    import django

    # Clients of AWS ask again after a failure; here without their pauses.
    botocore.endpoint.time = types.SimpleNamespace(sleep=lambda _seconds: None)
    django.setup()

    from apps.keys.aws import AWSKeyStore
    from apps.secrets.ssm import SSMSecretsRetriever
    from django.conf import settings
    from django.core.cache import cache
    from django.core.files.storage import default_storage
    from django.db import connection

    def database() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            connection.close()  # this thread's, back to the pool

    def dbshell() -> None:
        """Run psql as `manage.py dbshell` does."""
        arguments, variables = connection.client.settings_to_cmd_args_env(
            connection.settings_dict, ["-c", "SELECT 1"]
        )
        ended = subprocess.run(
            arguments, env=os.environ | variables, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise ConnectionError(ended.stderr)

    def cached() -> None:
        cache._cache.get_client().connection_pool.disconnect()
        cache.set("attacked", "no", 5)
        if cache.get("attacked") != "no":
            raise ValueError("the cache forgot")

    def storage() -> None:
        # This thread is new, and the storage has a client for each.
        default_storage.exists("attacked")

    def secrets() -> None:
        if not SSMSecretsRetriever(settings.SECRETS_PREFIX).fetch():
            raise ValueError("there are no secrets")

    def keys() -> None:
        AWSKeyStore().generate("fields")

    hops = (database, dbshell, storage, secrets, keys)
    return {each.__name__: each for each in hops} | {"cache": cached}, connection.close_pool


class FirstFailure(logging.Handler):
    """The pool of connections tries again and logs why; here the first failure counts."""

    def __init__(self, outcome: "queue.Queue[str | None]") -> None:
        super().__init__()
        self.outcome = outcome

    def emit(self, record: logging.LogRecord) -> None:
        self.outcome.put(record.getMessage())


def causes(error: BaseException) -> Iterator[str]:
    """Yield an error and what led to it, as text."""
    cause: BaseException | None = error
    while cause:
        yield f"{type(cause).__name__}: {cause}"
        cause = cause.__cause__


def outcome_of(connect: Callable[[], None], close: Callable[[], None]) -> str | None:
    """Open a hop; return why that failed, or None."""
    outcome: queue.Queue[str | None] = queue.Queue()

    def attempt() -> None:
        try:
            connect()
        except Exception as error:  # whatever it is, it is the answer
            outcome.put("; ".join(causes(error)))
        else:
            outcome.put(None)

    handler = FirstFailure(outcome)
    logger = logging.getLogger("psycopg.pool")
    logger.addHandler(handler)
    thread = threading.Thread(target=attempt)
    thread.start()
    try:
        return outcome.get(timeout=60)
    finally:
        close()
        thread.join()
        logger.removeHandler(handler)


def answer(line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    hops, close = openers()
    answer("ready")
    for line in sys.stdin:
        answer(outcome_of(hops[line.strip()], close))


if __name__ == "__main__":
    main()
