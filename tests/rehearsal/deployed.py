"""A project of its own for a rehearsal, and its environments."""

import itertools
import os
import subprocess
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from cloud import Cloud
from stack import _FOREIGN
from visitor import Site

ZONE = "example.com"


class Rehearsal:
    """The project, whose commits are what is deployed."""

    def __init__(self, project: Path, cloud: Cloud) -> None:
        self.project, self.cloud = project, cloud
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        identity = {
            f"GIT_{who}_{what}": "rehearsal@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        self.env = inherited | cloud.environment | identity
        self.log: list[str] = []

    @cached_property
    def slug(self) -> str:
        document = tomllib.loads((self.project / "project.toml").read_text())
        return str(document["project"]["slug"])

    @cached_property
    def domain(self) -> str:
        document = tomllib.loads((self.project / "project.toml").read_text())
        return str(document["project"]["domain"])

    def prepare(self, environments: str) -> None:
        """Write `infra/environments.toml`, install what infra/ needs, bootstrap the account."""
        answer = self.cloud.client("route53").create_hosted_zone(Name=ZONE, CallerReference="1")
        zone = answer["HostedZone"]["Id"].rpartition("/")[2]
        text = environments.replace("ZONE", f'{{id = "{zone}", name = "{ZONE}"}}')
        (self.project / "infra/environments.toml").write_text(text)
        self.run("git", "init", "--quiet")
        self.commit()
        self.infra("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        place = f"aws://{self.cloud.places.account}/{self.cloud.places.region}"
        self.infra("node_modules/.bin/cdk", "bootstrap", place, "--app", "")

    def commit(self) -> str:
        """Commit everything; return the tag that `deploy` gives the commit."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "A version")
        return self.run("git", "rev-parse", "--short=12", "HEAD").strip()

    def deploy(self, environment: str, *options: str) -> tuple[int, str]:
        """Run `deploy`; return its exit status and all it wrote."""
        return self.watch("deploy.py", environment, *options)

    def watch(self, *command: str) -> tuple[int, str]:
        """Run a program of infra/, log when each of its steps began; return status and output."""
        begin, steps, said = time.monotonic(), [], ""
        with self._infra("python", *command) as process:
            assert process.stdout
            for line in process.stdout:
                said += line
                if line.startswith(("deploy:", "destroy:", "rotate:")):
                    steps.append(f"    {time.monotonic() - begin:4.0f} s {line.strip()[:90]}")
        minutes = (time.monotonic() - begin) / 60
        self.log += [f"{' '.join(command)}: exit {process.returncode}, {minutes:.1f} min", *steps]
        return process.returncode, said

    def infra(self, *command: str) -> str:
        """Run a command in infra/ and its environment; fail with what it said."""
        with self._infra(*command) as process:
            said, _ = process.communicate()
        assert process.returncode == 0, said[-6000:]
        return said

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.project, env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _infra(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", "../scripts/uv", "run", "--locked", "--quiet", *command],
            cwd=self.project / "infra",
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


class Deployed:
    """One environment, as its users and the people who run it see it."""

    def __init__(self, rehearsal: Rehearsal, name: str) -> None:
        self._rehearsal, self.name = rehearsal, name
        self.project, self.ca = rehearsal.project, rehearsal.cloud.ca
        self.url = f"https://{name}.{rehearsal.domain}"

    def outputs(self, stack: str) -> dict[str, str]:
        cloudformation = self._rehearsal.cloud.client("cloudformation")
        name = f"{self._rehearsal.slug}-{self.name}-{stack}"
        found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}

    def inside(self, service: str) -> tuple[str, ...]:
        """Return the command that runs another in a service's container `app`."""
        cluster = self.outputs("release")["ClusterName"]
        name = self.outputs("app")[f"{service}ServiceName"]
        ecs = self._rehearsal.cloud.client("ecs")
        task = ecs.list_tasks(cluster=cluster, serviceName=name)["taskArns"][0]
        short = task.rpartition("/")[2][:8]
        return ("docker", "exec", f"ministack-ecs-{short}-app")

    def manage(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        full = (*self.inside(service), "python", "manage.py", *command)
        return subprocess.run(full, capture_output=True, text=True, check=False)

    def shell(self, code: str) -> str:
        """Run Python in the web service's `manage.py shell`, as `visitor` wants it."""
        done = self.manage("Web", "shell", "-v", "0", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def superuser(self, statement: str) -> None:
        """Run SQL in the database as no one of the project can."""
        label = f"label=database={self._rehearsal.slug}-{self.name}"
        listed = ["docker", "container", "ls", "--quiet", "--filter", label]
        found = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.strip()
        psql = 'PGPASSWORD=$POSTGRES_PASSWORD exec psql -qd app -U "$POSTGRES_USER" -c "$0"'
        command = ["docker", "exec", found, "sh", "-c", psql, statement]
        subprocess.run(command, capture_output=True, check=True)

    def visit(self) -> Site:
        stack: Any = self
        return Site(stack)

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Ask for pages again and again, of which one uses the database and the cache.

        The list is what went wrong.
        """
        wrong: list[str] = []
        ended = threading.Event()
        paths = itertools.cycle(("/accounts/login/", "/readyz"))

        def ask() -> None:
            while not ended.wait(0.25):
                try:
                    self.visit().get(next(paths))
                except (urllib.error.URLError, OSError) as error:
                    wrong.append(f"{time.monotonic():.1f} {error}")

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            yield wrong
        finally:
            ended.set()
            asker.join()
