"""Run by the Python of a copied project, in its folder: each line of input is tests to run.

Every line is run by a process of its own, forked from this one, which has the libraries
loaded already: that is most of the time that a single test takes. Answers each line with
the exit status of pytest.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path

LIBRARIES = (
    *("pytest", "_pytest.junitxml", "hypothesis", "boto3", "botocore.client", "redis"),
    *("psycopg_pool", "cryptography.x509", "structlog", "django_structlog.middlewares"),
    *("PIL.Image", "PIL.ImageOps", "environ", "gunicorn.app.wsgiapp", "whitenoise.storage", "yaml"),
    *("django.test", "django.views.debug", "django.db.backends.postgresql.base"),
    *("django.db.backends.sqlite3.base", "django.core.management", "django.forms"),
)


def run(order: dict[str, object]) -> int:
    """Run an order's tests in a child; return their exit status, or a signal below zero."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    import pytest

    signal.alarm(int(str(order["seconds"])))  # ends this process if the tests hang
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    options = ["-q", "--tb=line", "-rf", "-p", "no:cacheprovider", "-o", "addopts="]
    status = pytest.main([*options, *order["tests"]])  # type: ignore[misc]
    sys.stdout.flush()
    os._exit(status)


for name in LIBRARIES:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
sys.path.insert(0, str(Path.cwd()))
for line in sys.stdin:
    sys.stdout.write(f"{run(json.loads(line))}\n")
    sys.stdout.flush()
