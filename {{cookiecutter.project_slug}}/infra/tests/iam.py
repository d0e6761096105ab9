"""What an IAM policy of a template allows, as far as these policies go.

Values are compared as `reading.text` writes them. A condition whose key the request lacks
fails, unless it is a negated one, as in
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from tests.conftest import Template
from tests.reading import listed, text


def statements_of(template: Template, role: str) -> list[dict[str, Any]]:
    """Return the statements of the policies of the roles whose logical ids begin so."""
    return [
        statement
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Policy"
        and any(name["Ref"].startswith(role) for name in resource["Properties"]["Roles"])
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]
    ]


def allows(
    statements: list[dict[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Is the request allowed by one of the statements?"""
    assert all(statement["Effect"] == "Allow" for statement in statements)
    return any(
        _like(action, statement["Action"])
        and _like(resource, statement["Resource"])
        and all(
            _holds(operator, (context or {}).get(key), wanted)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
        for statement in statements
    )


def _like(value: str, patterns: Any) -> bool:
    return any(fnmatchcase(value, text(pattern)) for pattern in listed(patterns))


def _holds(operator: str, value: str | None, wanted: Any) -> bool:
    match operator:
        case "StringEquals" | "ArnEquals":
            return value in [text(each) for each in listed(wanted)]
        case "StringLike" | "ArnLike":
            return value is not None and _like(value, wanted)
        case "StringNotLike":
            return value is None or not _like(value, wanted)
        case _:
            raise NotImplementedError(operator)
