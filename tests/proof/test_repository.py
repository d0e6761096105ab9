"""What git would take of a project, new or after its stack has run: no secret and no key."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, Bake
from needles import Needles, certificates_of, of_project, private_keys
from report import Evidence
from stack import NativeStack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# By name, whatever is in them.
SECRET_NAME = re.compile(r"(^|/)(\.env|\.local|\.venv)(/|$)|\.(key|p12|pfx)$")


@dataclass(frozen=True)
class Repository:
    """A repository, whose folder for git need not be in the project."""

    git_dir: Path
    work_tree: Path

    def git(self, *command: object, data: bytes = b"") -> bytes:
        """Run a git command as a person with no settings would; return what it writes."""
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }
        where = (f"--git-dir={self.git_dir}", f"--work-tree={self.work_tree}")
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        words = ["git", "-c", "safe.directory=*", *who, *where, *map(str, command)]
        return subprocess.run(
            words, cwd=self.work_tree, env=environment, input=data, check=True, capture_output=True
        ).stdout

    def commit_all(self) -> None:
        """Do what a person does with a new project."""
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "New project")

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of every file of the whole history."""
        names = self.git("rev-list", "--objects", "--all").decode().splitlines()
        paths = dict(line.split(" ", 1) for line in names if " " in line)
        contents = self.git("cat-file", "--batch", data="\n".join(paths).encode())
        place = 0
        while place < len(contents):
            line = contents.index(b"\n", place)
            identity, kind, size = contents[place:line].decode().split()
            place = line + 1 + int(size) + 1
            if kind == "blob":
                yield paths[identity], contents[line + 1 : place - 1]


def secrets_in(files: list[tuple[str, bytes]], needles: Needles) -> set[str]:
    """Return the names of the files that have, or are by their name, secrets."""
    return {
        name
        for name, content in files
        if needles.found(content) or any(private_keys(content)) or SECRET_NAME.search(name)
    }


def needles_of(project: Path) -> Needles:
    return of_project(project) | certificates_of(project)


@pytest.fixture(scope="module")
def with_secrets(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with secrets; a new project has them, one that was given lost them on the way."""
    copy = tmp_path_factory.mktemp("with-secrets") / project.name
    shutil.copytree(project, copy)
    for script in ("scripts/certs", "scripts/env"):
        subprocess.run(["sh", script], cwd=copy, check=True, capture_output=True)
    return copy


@pytest.fixture(
    params=[
        "new",
        pytest.param("after its stack has run", marks=[pytest.mark.native, pytest.mark.proof]),
    ]
)
def project_to_commit(request: pytest.FixtureRequest, with_secrets: Path) -> Path:
    """A project with its secrets."""
    if request.param == "new":
        return with_secrets
    native: NativeStack = request.getfixturevalue("native")
    return native.project


def test_no_secret_is_committed(
    project_to_commit: Path, tmp_path: Path, evidence: Evidence, request: pytest.FixtureRequest
) -> None:
    repository = Repository(tmp_path / "git", project_to_commit)
    repository.commit_all()
    files, needles = list(repository.objects()), needles_of(project_to_commit)
    found = secrets_in(files, needles)
    evidence.line(
        "repository",
        subject=f"project, {request.node.callspec.params['project_to_commit']}",
        tried=f"git init, add --all, commit; search of {len(files)} objects of the history "
        f"for {len(needles)} secrets, keys and certificates, and for anybody's private keys",
        expected="nothing",
        seen=", ".join(sorted(found)) or "nothing",
    )
    evidence.figure("repository", "objects searched", len(files))
    assert "manage.py" in dict(files)
    assert found == set()

    # Control: what only .gitignore keeps out is found once it is forced in, and stays found
    # when the next commit removes it.
    forced = [".env", ".local/certs/ca.key", ".local/certs/ca.crt", ".local/certs/app/tls.key"]
    repository.git("add", "--force", *forced)
    repository.git("commit", "--quiet", "--message", "By mistake")
    repository.git("rm", "--quiet", "--cached", *forced)
    repository.git("commit", "--quiet", "--message", "Nobody will notice")
    seen = secrets_in(list(repository.objects()), needles)
    evidence.line(
        "repository",
        subject=f"control: {len(forced)} secret files, forced in and removed again",
        tried="the same search",
        expected="all found",
        seen=", ".join(sorted(seen)),
    )
    assert seen == set(forced)


def test_content_is_found_under_any_name(with_secrets: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    repository = Repository(tmp_path / "git", tmp_path / "tree")
    (tmp_path / "tree" / "notes.txt").write_bytes((with_secrets / ".env").read_bytes())
    authority = with_secrets / ".local/certs/ca.crt"
    (tmp_path / "tree" / "other.txt").write_bytes(authority.read_bytes())
    (tmp_path / "tree" / "fine.txt").write_text("nothing")
    repository.commit_all()
    assert secrets_in(list(repository.objects()), needles_of(with_secrets)) == {
        *("notes.txt", "other.txt"),
    }


def test_no_private_key_is_in_the_history(given_project: Path | None, evidence: Evidence) -> None:
    """Of the project that was given, or of the template."""
    work_tree = given_project or ROOT
    if not (work_tree / ".git").exists():
        pytest.skip(f"{work_tree} is no repository, so it has no history")
    files = list(Repository(work_tree / ".git", work_tree).objects())
    found = {name for name, content in files if any(private_keys(content))}
    evidence.line(
        "repository",
        subject="history of the project" if given_project else "history of the template",
        tried=f"search of {len(files)} objects for anybody's private keys",
        expected="nothing",
        seen=", ".join(sorted(found)) or "nothing",
    )
    assert files
    assert found == set()


def test_the_ignore_file_comes_first(bake: Bake, tmp_path: Path) -> None:
    """Secrets are made by the last hook, when .gitignore is there already."""
    assert bake(tmp_path).returncode == 0
    made = tmp_path / "my-project"
    ignored = (made / ".gitignore").stat()
    for path in (made / ".env", made / ".local" / "certs" / "ca.key"):
        assert path.stat().st_mtime_ns >= ignored.st_mtime_ns
