"""The API's documentation as a page reads it: operations in groups, each with its fields and an example to copy."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape

from evident_core.errors import EvidentError
from evident_core.web.probes import OPERATION

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A parameter or a field of a body."""

    name: str
    place: str
    type: str
    required: bool
    meaning: str


@dataclass(frozen=True)
class Entry:
    """One operation."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    scope: str
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str, str], ...]
    example: str


def problem_kinds() -> tuple[type[EvidentError], ...]:
    """All kinds of refusal, by status: what a program must be ready for."""

    def below(kind: type[EvidentError]) -> Iterator[type[EvidentError]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    by_code = {kind.code: kind for kind in reversed(tuple(below(EvidentError)))}
    return tuple(sorted(by_code.values(), key=lambda kind: (kind.status, kind.code)))


def groups(document: Mapping[str, Any], base_url: str, *, with_key: bool) -> dict[str, list[Entry]]:
    """All operations of an OpenAPI document by tag: the service's own first, those for who runs it last.

    Args:
        document: The OpenAPI document.
        base_url: Where the examples point.
        with_key: Whether the examples carry a key; this machine's own user needs none.
    """
    found: dict[str, list[Entry]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            found.setdefault(next(iter(operation.get("tags", ())), ""), []).append(
                _entry(document, base_url, path, method, operation, with_key=with_key)
            )
    return dict(sorted(found.items(), key=lambda group: group[0] == OPERATION))


def _entry(
    document: Mapping[str, Any], base_url: str, path: str, method: str, operation: Mapping[str, Any], *, with_key: bool
) -> Entry:
    fields = [
        Field(each["name"], each["in"], type_name(each["schema"]), each["required"], each.get("description", ""))
        for each in operation["parameters"]
    ]
    media, schema = _body(document, operation)
    for name, field in _properties(document, schema).items():
        required = name in _required(document, schema)
        fields.append(
            Field(name, "form" if "form" in media else "body", type_name(field), required, field.get("description", ""))
        )
    answers = tuple(
        (
            status,
            answer.get("description", ""),
            ", ".join(_content(*each) for each in answer.get("content", {}).items()),
        )
        for status, answer in operation["responses"].items()
        if status != "default"
    )
    scopes = [scope for each in operation["security"] for scopes in each.values() for scope in scopes]
    return Entry(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation["description"],
        scope=", ".join(scopes),
        fields=tuple(fields),
        answers=answers,
        example=_example(document, base_url, path, method, operation, needs_key=with_key and bool(scopes)),
    )


def _body(document: Mapping[str, Any], operation: Mapping[str, Any]) -> tuple[str, Schema]:
    content = operation.get("requestBody", {}).get("content", {})
    media = next(iter(content), "")
    return media, _resolved(document, content[media]["schema"]) if media else {}


def _resolved(document: Mapping[str, Any], schema: Schema) -> Schema:
    reference = schema.get("$ref", "")
    return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def _properties(document: Mapping[str, Any], schema: Schema) -> dict[str, Schema]:
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        found.update(_properties(document, _resolved(document, part)))
    return found


def _required(document: Mapping[str, Any], schema: Schema) -> set[str]:
    found = set(schema.get("required", ()))
    for part in schema.get("allOf", ()):
        found |= _required(document, _resolved(document, part))
    return found


def _content(media: str, content: Mapping[str, Any]) -> str:
    return type_name(content["schema"]) if "schema" in content else media


def marked(text: str) -> Markup:
    """A docstring's words as a page shows them: what stands in backticks is code."""
    return Markup(re.sub(r"`+([^`]+)`+", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped first


def type_name(schema: Schema) -> str:
    """A schema in a few words: ``integer``, ``Analysis[]``, ``"en" | "zh"``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    for way in ("anyOf", "oneOf"):
        if way in schema:
            return " | ".join(type_name(each) for each in schema[way])
    if media := schema.get("contentMediaType"):
        return "JSON" if media == "application/json" else "file"
    if schema.get("type") == "array":
        return f"{type_name(schema.get('items', {}))}[]"
    kind = schema.get("type", "any")
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _example(
    document: Mapping[str, Any], base_url: str, path: str, method: str, operation: Mapping[str, Any], *, needs_key: bool
) -> str:
    """The operation as a curl command, with the fields that it needs."""
    query = {each["name"]: "…" for each in operation["parameters"] if each["in"] == "query" and each["required"]}
    url = base_url.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
    media, schema = _body(document, operation)
    plain = method == "get" or (method == "post" and media)
    parts = [f"curl '{url}'" if plain else f"curl -X {method.upper()} '{url}'"]
    if needs_key:
        parts.append("-H 'Authorization: Bearer evd_…'")
    if media == "application/json":
        required = _required(document, schema)
        body = {name: _sample(field) for name, field in _properties(document, schema).items() if name in required}
        parts += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(body, ensure_ascii=False)}'"]
    elif media:
        files = [name for name, field in _properties(document, schema).items() if type_name(field) == "file"]
        parts += [f"-F {name}=@FILE" for name in files]
    return " \\\n  ".join(parts)


def _sample(schema: Schema) -> object:
    if "default" in schema:
        return schema["default"]
    samples: dict[str, object] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    return next(iter(schema.get("enum", ())), samples.get(str(schema.get("type")), "…"))
