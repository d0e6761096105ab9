"""Refuse bad answers, each with one line that says what, why and how a good one looks.

Cookiecutter renders this file with Jinja and runs it in the project's folder before it writes
any other file there. The answers arrive as JSON, which no answer can break out of.

Cookiecutter makes that folder first, whatever the slug: with `a/b` it would leave `a` behind,
with `../a` it would leave its own place. So `cookiecutter.json` keeps the slug as it was typed in
`__typed_slug`, for the check here, and makes `project_slug` itself a safe folder name; for a
good slug the two are the same.

Standard library only, Python 3.10 or newer: it runs with whatever Python runs Cookiecutter.
"""

import difflib
import json
import keyword
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Of the AWS partitions "aws", "aws-us-gov" and "aws-cn".
AWS_REGIONS = frozenset(
    """
    af-south-1
    ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
    ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6
    ap-southeast-7
    ca-central-1 ca-west-1
    cn-north-1 cn-northwest-1
    eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3
    il-central-1
    me-central-1 me-south-1 me-west-1
    mx-central-1
    sa-east-1 sa-west-1
    us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-west-1 us-west-2
    """.split()
)

# What the project imports besides sys.stdlib_module_names, which lacks `test`; "-" written as "_".
MODULE_NAMES = frozenset(
    """
    apps argon2 argon2_cffi boto3 botocore config cryptography django django_environ
    django_storages django_structlog django_tasks_db environ gunicorn pil pillow psycopg
    psycopg_pool pytest redis storages structlog test tests tqdm
    whitenoise
    """.split()
)

# No SSM parameter, S3 bucket or load balancer may have a name that begins so.
AWS_PREFIXES = ("aws", "ssm", "amzn-s3-demo-", "internal-", "sthree-")

# They end a string or start code in TOML, HTML, Jinja, Markdown or a shell.
UNSAFE_CHARACTERS = '"\\{}<>`$'
JOINERS = "\u200c\u200d"  # invisible, but emoji and some scripts are made with them

# Made by working in the template's folder; Cookiecutter would copy them into every project.
LEFTOVERS = (".env", ".local", ".venv")

HOST_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"({HOST_LABEL}\.)+(?=.*[a-z]){HOST_LABEL}")


def validate_project_name(value: str) -> None:
    validate_text(value, longest=60, example="Note Box")


def validate_project_slug(value: str) -> None:
    module = value.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", value):
        problem = (
            "must be lower-case letters, digits and single hyphens, starting with a letter, "
            "because it names the folder, containers and AWS resources"
        )
    elif len(value) > 30:
        problem = "is longer than 30 characters; AWS allows few more in the names made from it"
    elif module in sys.stdlib_module_names or module in MODULE_NAMES:
        problem = "is a module of Python or of a dependency, and would be confused with it"
    elif keyword.iskeyword(module) or module in {"true", "false", "none"}:
        problem = "is a word of the Python language, and no name in Python can be made from it"
    elif value.startswith(AWS_PREFIXES):
        problem = f"begins with one of {', '.join(AWS_PREFIXES)}, which AWS keeps for itself"
    else:
        return
    raise ValueError(f"{problem}. Example: note-box")


def validate_description(value: str) -> None:
    validate_text(value, longest=200, example="Private notes with attachments.")


def validate_author_name(value: str) -> None:
    validate_text(value, longest=80, example="Zoë O'Brien")


def validate_author_email(value: str) -> None:
    local, _, host = value.rpartition("@")
    if (
        not value.isascii()
        or len(value) > 254
        or not re.fullmatch(r"[A-Za-z0-9_%+'-]+(\.[A-Za-z0-9_%+'-]+)*", local)
        or not HOST_NAME.fullmatch(host.lower())
    ):
        raise ValueError(
            "is not a plain e-mail address (letters, digits and . _ % + ' - before the @, "
            "a domain with a dot after it), and mail to the author would fail. "
            "Example: zoe@example.com"
        )


def validate_domain_name(value: str) -> None:
    if not value.isascii():
        problem = "has characters outside ASCII; certificates hold the punycode form (xn--...)"
    elif len(value) > 64:
        problem = "is longer than 64 characters, the most that a certificate's first name can have"
    elif not HOST_NAME.fullmatch(value):
        problem = (
            "must be a lower-case host name of two or more parts and nothing else (no https://, "
            "port, path, underscore, final dot or IP address), because certificates are made for it"
        )
    else:
        return
    raise ValueError(f"{problem}. Example: notes.example.com")


def validate_aws_region(value: str) -> None:
    if value not in AWS_REGIONS:
        regions = sorted(AWS_REGIONS)
        closest = difflib.get_close_matches(value.lower(), regions, n=1) or ["eu-central-1"]
        raise ValueError(
            f"is not an AWS region, so nothing could be deployed. Example: {closest[0]}"
        )


def validate_github_repository(value: str) -> None:
    owner, _, name = value.partition("/")
    if (
        not re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", owner)
        or len(owner) > 39
        or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name)
        or name in {".", ".."}
        or name.endswith(".git")
    ):
        raise ValueError(
            "must be owner/name as GitHub shows it, without https:// and .git, "
            "because the deployment role trusts that repository only. Example: octocat/note-box"
        )


def validate_text(value: str, *, longest: int, example: str) -> None:
    """Accept one line of text, in any script, that is safe to quote in every file."""
    unsafe = next((character for character in value if is_unsafe(character)), None)
    if not any(character.isalnum() for character in value):
        problem = "has no letter or digit, so people could not read it"
    elif value != value.strip():
        problem = "begins or ends with a space, which gets lost on the way"
    elif len(value) > longest:
        problem = f"is longer than {longest} characters, and would not fit on a page"
    elif unsafe:
        problem = f"has the character {unsafe!a}, which files and shells would take as code"
    else:
        return
    raise ValueError(f"{problem}. Example: {example}")


def is_unsafe(character: str) -> bool:
    control = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return character in UNSAFE_CHARACTERS or (control and character not in JOINERS)


VALIDATORS: Mapping[str, Callable[[str], None]] = {
    "project_name": validate_project_name,
    "project_slug": validate_project_slug,
    "description": validate_description,
    "author_name": validate_author_name,
    "author_email": validate_author_email,
    "domain_name": validate_domain_name,
    "aws_region": validate_aws_region,
    "github_repository": validate_github_repository,
}


def find_problems(answers: Mapping[str, str]) -> Iterator[str]:
    """Yield one line for every bad answer."""
    for answer, validate in VALIDATORS.items():
        value = answers[answer]
        try:
            validate(value)
        except ValueError as error:
            shown = value if len(value) <= 70 else value[:67] + "..."
            yield f"{answer}: {shown!r} {error}"


def find_leftovers(template: Path) -> Iterator[str]:
    """Yield one line for everything in the template's folder that is no part of the template."""
    for name in LEFTOVERS:
        for path in template.glob(f"*cookiecutter.*/{name}"):
            yield f"template: {path} would be copied into every project, secrets and all. Remove it"


def main() -> int:
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    answers["project_slug"] = answers["__typed_slug"]
    # A relative path is relative to where Cookiecutter was called, not to this hook's folder.
    template = Path(os.environ.get("PWD", ""), answers["_repo_dir"])
    problems = [*find_problems(answers), *find_leftovers(template)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
