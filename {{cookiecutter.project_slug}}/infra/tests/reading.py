"""How to read values of CloudFormation templates: references, policies, text."""

import re
from collections.abc import Iterator
from typing import Any

from tests.whole import Templates

_HASH = re.compile(r"[0-9A-F]{8}$")


def at(resource: dict[str, Any], path: str) -> Any:
    """The value at a dotted path below a resource's properties, or None."""
    value: Any = resource.get("Properties", {})
    for part in path.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def listed(value: Any) -> list[Any]:
    """A list of what CloudFormation takes as one value or a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def target(templates: Templates, stack: str, value: Any) -> str | None:
    """The resource, `stack/LogicalId`, that a value refers to, through exports too."""
    if not isinstance(value, dict):
        return None
    for function, inner in (("Fn::Select", 1), ("Fn::Split", 1)):  # a part of an ARN
        if function in value:
            return target(templates, stack, value[function][inner])
    if "Fn::GetAtt" in value:
        return f"{stack}/{value['Fn::GetAtt'][0]}"
    if "Ref" in value:
        return f"{stack}/{value['Ref']}"
    if "Fn::ImportValue" in value:
        for other, template in templates.items():
            for output in template.get("Outputs", {}).values():
                if output.get("Export", {}).get("Name") == value["Fn::ImportValue"]:
                    return target(templates, other, output["Value"])
    return None


def text(value: Any) -> str:
    """A value as text: references in angle brackets, without CDK's hashes."""
    match value:
        case {"Ref": str(name)}:
            return f"<{_HASH.sub('', name)}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{_HASH.sub('', name)}.{attribute}>"
        case {"Fn::ImportValue": name}:
            return f"<{text(name)}>"
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(text(part) for part in parts)
        case {"Fn::Sub": str(pattern)}:
            return pattern
        case dict():
            return str(value)
        case _:
            return str(value)


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a value, keys of objects left out, with its path."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from strings(inner, f"{path}.{key}" if path else str(key))
        case list():
            for index, inner in enumerate(value):
                yield from strings(inner, f"{path}.{index}")
        case str():
            yield path, value


_PSEUDO = {"AWS::AccountId", "AWS::Partition", "AWS::Region", "AWS::URLSuffix"}


def constant(value: Any) -> bool:
    """Whether two stacks of an account have the same value, as nothing in it is their own."""
    match value:
        case {"Ref": name}:
            return name in _PSEUDO
        case {"Fn::GetAtt": _} | {"Fn::ImportValue": _}:
            return False
        case dict():
            return all(map(constant, value.values()))
        case list():
            return all(map(constant, value))
        case _:
            return True


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Every statement of every policy document in a value."""
    match value:
        case dict():
            for key, inner in value.items():
                if key == "Statement":
                    yield from (each for each in listed(inner) if "Effect" in each)
                else:
                    yield from statements(inner)
        case list():
            for inner in value:
                yield from statements(inner)
