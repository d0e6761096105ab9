"""Every answer: what is accepted, what is refused and how, and that nothing is left behind."""

import ast
import importlib.util
import json
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from conftest import ROOT, TEMPLATE_FOLDER, Bake
from cookiecutter.utils import create_env_with_context
from hypothesis import given
from hypothesis import strategies as st

PRE_GEN = ROOT / "hooks" / "pre_gen_project.py"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = load(PRE_GEN)
SETTINGS = json.loads((ROOT / "cookiecutter.json").read_text())
ANSWERS = [name for name in SETTINGS if not name.startswith("_")]

TEXTS = [
    "Notes",
    "7",
    "Zoë's notes & things",
    "Заметки",
    "ノート",
    "यादें",
    "می‌خواهم",
    "Notes 🔐",
    "Space 👩‍🚀",
    "C# (50% off!) #1; a|b ~ [x]",
]
UNSAFE_TEXTS = [
    "",
    " ",
    "🔐",
    "---",
    " padded",
    "padded ",
    'say "notes"',
    "back\\slash",
    "two\nlines",
    "tab\there",
    "null\0byte",
    "escape\x1b[31m",
    "right\u202eto left",
    "line\u2028separator",
    "lone\ud800surrogate",
    "{{ cookiecutter }}",
    "{% raw %}",
    "{# x #}",
    "closing }",
    "<script>",
    "a > b",
    "`id`",
    "$HOME",
    "x" * 1000,
]

GOOD: Mapping[str, list[str]] = {
    "project_name": TEXTS,
    "project_slug": ["a", "note-box", "notes2", "n2-x-9", "testing", "django-shop", "x" * 30],
    "description": [*TEXTS, "x" * 200],
    "author_name": [*TEXTS, "Zoë O'Brien"],
    "author_email": [
        "zoe@example.com",
        "zoe.o'brien+notes@mail.example.co.uk",
        "Zoe_1@Example.COM",
        "z@xn--mnchen-3ya.example",
    ],
    "domain_name": [
        "example.com",
        "notes.example.com",
        "a.b.c.d.example",
        "1.example.com",
        "xn--mnchen-3ya.example",
        "notes.xn--p1ai",
        "x" * 52 + ".example.com",
    ],
    "aws_region": ["eu-central-1", "us-east-1", "us-gov-west-1", "cn-north-1", "ap-southeast-5"],
    "github_repository": [
        "octocat/note-box",
        "o/n",
        "Octo-Cat/Note_Box.py",
        "x" * 39 + "/" + "y" * 100,
        "octocat/.github",
    ],
}

BAD: Mapping[str, list[str]] = {
    "project_name": [*UNSAFE_TEXTS, "x" * 61],
    "project_slug": [
        "",
        " ",
        ".",
        "..",
        "a/b",
        "../a",
        "/srv/a",
        "a\\b",
        "Notes",
        "NOTES",
        "note_box",
        "note box",
        "note.box",
        "2notes",
        "-notes",
        "notes-",
        "note--box",
        "notes\n",
        "nötes",
        "n🔐",
        "{{notes}}",
        "x" * 31,
        "x" * 300,
        "class",
        "none",
        "async",
        "test",
        "email",
        "concurrent",
        "django",
        "boto3",
        "psycopg-pool",
        "pil",
        "apps",
        "config",
        "aws-notes",
        "ssm",
        "internal-notes",
    ],
    "description": [*UNSAFE_TEXTS, "x" * 201],
    "author_name": [*UNSAFE_TEXTS, "x" * 81],
    "author_email": [
        "",
        "zoe",
        "@example.com",
        "zoe@",
        "zoe@localhost",
        "zoe@example",
        "zoe@example.com.",
        "zoe@127.0.0.1",
        "zoe@@example.com",
        "zoe example@example.com",
        "zoe@example.com ",
        "zoe@example.com\n",
        '"zoe"@example.com',
        "zoë@example.com",
        "zoe@exämple.com",
        "zoe@\u212aelvin.com",
        ".zoe@example.com",
        "zo..e@example.com",
        "Zoe <zoe@example.com>",
        "a@example.com,b@example.com",
        "mailto:zoe@example.com",
        "x" * 250 + "@example.com",
    ],
    "domain_name": [
        "",
        "localhost",
        "com",
        "https://example.com",
        "example.com:8443",
        "example.com/notes",
        "example.com.",
        ".example.com",
        "notes..example.com",
        "no_tes.example.com",
        "-notes.example.com",
        "notes-.example.com",
        "*.example.com",
        "Example.com",
        "exam ple.com",
        "example.com\n",
        "zoe@example.com",
        "192.0.2.1",
        "2001:db8::1",
        "[2001:db8::1]",
        "münchen.example",
        "example.com{{ x }}",
        "x" * 64 + ".example",
        "x" * 53 + ".example.com",
    ],
    "aws_region": ["", "eu-central", "EU-Central-1", "eu-central-9", "aws-global", "eu-central-1a"],
    "github_repository": [
        "",
        "note-box",
        "octocat/",
        "/note-box",
        "octocat/note-box/issues",
        "octocat/note-box.git",
        "https://github.com/octocat/note-box",
        "git@github.com:octocat/note-box",
        "github.com/octocat/note-box",
        "octo cat/note-box",
        "octo_cat/note-box",
        "-octocat/note-box",
        "octocat-/note-box",
        "octocat/..",
        "octocat/note box",
        "octocat/nöte-box",
        "octocat/note-box\n",
        "x" * 40 + "/note-box",
        "octocat/" + "y" * 101,
    ],
}


def rows(table: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    return [(answer, value) for answer, values in table.items() for value in values]


def with_answer(answer: str, value: str) -> dict[str, str]:
    return {name: GOOD[name][0] for name in ANSWERS} | {answer: value}


def test_every_answer_has_a_prompt_a_validator_and_values_here() -> None:
    expected = set(ANSWERS)
    assert set(SETTINGS["__prompts__"]) == expected
    assert set(hook.VALIDATORS) == expected
    assert set(GOOD) == set(BAD) == expected


@pytest.mark.parametrize(("answer", "value"), rows(GOOD))
def test_a_good_value_is_accepted(answer: str, value: str) -> None:
    assert list(hook.find_problems(with_answer(answer, value))) == []


@pytest.mark.parametrize(("answer", "value"), rows(BAD))
def test_a_bad_value_is_refused_in_one_line(answer: str, value: str) -> None:
    [line] = hook.find_problems(with_answer(answer, value))
    assert line.startswith(f"{answer}: {value[:60]!r}"[:-1])
    assert line.isprintable()
    assert len(line) < 300
    example = line.partition(" Example: ")[2]
    hook.VALIDATORS[answer](example)


@pytest.mark.parametrize(
    ("answer", "value", "reason"),
    [
        ("project_name", 'a"b', "has the character '\"'"),
        ("project_name", "🔐", "no letter or digit"),
        ("project_slug", "2notes", "starting with a letter"),
        ("project_slug", "email", "is a module of Python"),
        ("project_slug", "django", "is a module of Python or of a dependency"),
        ("project_slug", "class", "a word of the Python language"),
        ("project_slug", "aws-notes", "AWS keeps for itself"),
        ("project_slug", "x" * 31, "longer than 30"),
        ("domain_name", "münchen.example", "punycode"),
        ("domain_name", "https://example.com", "no https://"),
        ("aws_region", "eu-centrall-1", "Example: eu-central-1"),
        ("aws_region", "US-East-1", "Example: us-east-1"),
    ],
)
def test_the_line_says_why(answer: str, value: str, reason: str) -> None:
    [line] = hook.find_problems(with_answer(answer, value))
    assert reason in line


def test_no_region_of_boto3_is_refused() -> None:
    session = boto3.Session()
    for partition in ("aws", "aws-us-gov", "aws-cn"):
        regions = session.get_available_regions("ssm", partition_name=partition)
        assert regions
        assert set(regions) <= hook.AWS_REGIONS


def test_no_dependency_of_the_project_is_accepted_as_slug() -> None:
    pyproject = tomllib.loads((ROOT / TEMPLATE_FOLDER / "pyproject.toml").read_text())
    for requirement in pyproject["project"]["dependencies"]:
        [name] = re.findall(r"^[a-z0-9-]+", requirement)
        with pytest.raises(ValueError, match="dependency"):
            hook.validate_project_slug(name)


@given(st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True).filter(lambda s: len(s) < 31))
def test_a_good_slug_is_the_folder_name(slug: str) -> None:
    """`__typed_slug` in cookiecutter.json makes a safe folder name; it must not change these."""
    context = {"project_slug": slug}
    env = create_env_with_context({})
    assert env.from_string(SETTINGS["__typed_slug"]).render(cookiecutter=context) == slug
    assert context["project_slug"] == slug


@given(st.text(st.characters()))
def test_no_slug_makes_a_folder_elsewhere(slug: str) -> None:
    context = {"project_slug": slug}
    env = create_env_with_context({})
    assert env.from_string(SETTINGS["__typed_slug"]).render(cookiecutter=context) == slug
    assert re.fullmatch(r"[a-z0-9-]{1,30}", context["project_slug"])


@given(
    st.dictionaries(st.sampled_from(ANSWERS), st.text(st.characters()) | st.sampled_from("'\"\\"))
)
def test_no_answer_breaks_out_of_the_hook(answers: dict[str, str]) -> None:
    env = create_env_with_context({})
    rendered = env.from_string(PRE_GEN.read_text()).render(cookiecutter=answers)
    before, after = (ast.parse(source) for source in (PRE_GEN.read_text(), rendered))
    [(old, new)] = (
        (old.value, new.value)
        for old, new in zip(ast.walk(before), ast.walk(after), strict=True)
        if isinstance(old, ast.Constant)
        and isinstance(new, ast.Constant)
        and old.value != new.value
    )
    assert old == "{{ cookiecutter | tojson }}"
    assert isinstance(new, str)
    assert json.loads(new) == answers


@given(st.text(max_size=60) | st.sampled_from(TEXTS + UNSAFE_TEXTS))
def test_an_accepted_text_survives_in_toml(text: str) -> None:
    try:
        hook.validate_project_name(text)
    except ValueError:
        return
    assert tomllib.loads(f'name = "{text}"') == {"name": text}


@pytest.mark.parametrize("path", sorted((ROOT / "hooks").glob("*.py")), ids=lambda path: path.name)
def test_hooks_need_only_python_310(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
        if name
    }
    assert imported <= sys.stdlib_module_names


# Through the command itself.


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_command_refuses(answer: str, bake: Bake, tmp_path: Path) -> None:
    value = BAD[answer][-1].strip("\n")
    result = bake(tmp_path, [f"{answer}={value}"])
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(f"{answer}: {value[:60]!r}"[:-1])
    assert tree(tmp_path) == []


def test_the_command_names_every_bad_answer_at_once(bake: Bake, tmp_path: Path) -> None:
    result = bake(tmp_path, [f"{answer}=" for answer in ANSWERS])
    assert result.returncode == 1
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ANSWERS
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    "slug",
    [
        "",
        ".",
        "..",
        "~",
        "a/b",
        "a/b/c",
        "../a",
        "../../a/b",
        "/",
        "//",
        "🔐",
        "x" * 300,
        "A",
    ],
)
@pytest.mark.parametrize("options", [(), ("--overwrite-if-exists",)], ids=["new", "overwrite"])
def test_a_slug_that_is_no_folder_name_leaves_nothing(
    slug: str, options: tuple[str, ...], bake: Bake, tmp_path: Path
) -> None:
    output = tmp_path / "one" / "two"
    output.mkdir(parents=True)
    (output / "mine").touch()
    result = bake(output, [f"project_slug={slug}"], options=options)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("project_slug: ")
    assert tree(tmp_path) == ["one", "one/two", "one/two/mine"]


def test_an_absolute_slug_leaves_nothing(bake: Bake, tmp_path: Path) -> None:
    result = bake(tmp_path / "output", [f"project_slug={tmp_path}/elsewhere/a"])
    assert result.returncode == 1
    assert "project_slug: " in result.stderr
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("value", ["{{", "{% if", "{{ missing }}", "{{ cookiecutter.missing }}"])
def test_cookiecutter_itself_refuses_broken_jinja_on_its_command_line(
    value: str, bake: Bake, tmp_path: Path
) -> None:
    result = bake(tmp_path, [f"project_name={value}"])
    assert result.returncode == 1
    assert re.search("TemplateSyntaxError|Unable to render variable", result.stderr + result.stdout)
    assert tree(tmp_path) == []


def test_jinja_that_is_typed_reaches_the_validator(bake: Bake, tmp_path: Path) -> None:
    result = bake(tmp_path, stdin="{{ 7 * 7 }}\nnotes\n" + "\n" * 10)
    assert result.returncode == 1
    assert result.stderr.startswith("project_name: '{{ 7 * 7 }}' has the character '{'")
    for prompt in SETTINGS["__prompts__"].values():
        assert prompt in " ".join(result.stdout.split())
    assert tree(tmp_path) == []
