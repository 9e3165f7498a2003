"""OpenAPI 3.1, generated from what each route declares of itself; the same declaration checks the request.

A view declares itself once::

    @blueprint.post("/documents/<document_id>/corrections")
    @operation("Correct a value", scope="write", body=NewCorrection, returns=Analysis)
    def correct(document_id: str, body: NewCorrection) -> Analysis: ...
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from flask import Flask, Response, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from evident_core.errors import EvidentError, InvalidInput, UnsupportedMedia
from evident_core.web.problems import PROBLEM_JSON, Problem, place

View = Callable[..., Any]
JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data"


@dataclass(frozen=True)
class Operation:
    """What a route tells of itself; see `operation` for the fields."""

    summary: str
    description: str
    scope: str | None
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    form: type[BaseModel] | None
    uploads: tuple[str, ...]
    returns: type[BaseModel] | tuple[str, ...] | None
    status: int
    problems: tuple[type[EvidentError], ...]
    tag: str


def operation(
    summary: str,
    *,
    scope: str | None = None,
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    form: type[BaseModel] | None = None,
    uploads: tuple[str, ...] = (),
    returns: type[BaseModel] | str | tuple[str, ...] | None = None,
    status: int = 200,
    problems: tuple[type[EvidentError], ...] = (),
    tag: str = "",
) -> Callable[[View], View]:
    """Declare a view as a part of the API: it is documented, and its request is checked before the view runs.

    Args:
        summary: One line for the documentation; the view's docstring becomes the description.
        scope: The scope a key needs; without one, ``read`` for GET and ``write`` for the others. ``public`` needs none.
        query: Model of the query string; the view gets it as ``query``.
        body: Model of the JSON body; the view gets it as ``body``.
        form: Model of the form's fields next to its files; the view gets it as ``form``.
        uploads: Names of the files in a multipart form; the first is required.
        returns: Model of the JSON answer, or the media types of one that is not JSON. A model that the view returns is
            rendered with ``status``.
        status: Status of the answer.
        problems: Errors worth naming in the documentation.
        tag: Heading in the documentation.
    """

    def declare(view: View) -> View:
        @wraps(view)
        def checked(**values: Any) -> ResponseReturnValue:
            if query is not None:
                values["query"] = _validated(query, _fields(query, request.args), "query")
            if body is not None:
                values["body"] = _validated_json(body)
            if form is not None:
                values["form"] = _validated(form, _fields(form, request.form), "form")
            result = view(**values)
            return _answer(result, status) if isinstance(result, BaseModel) else result

        checked.operation = Operation(  # type: ignore[attr-defined]
            summary=summary,
            description=_description(view),
            scope=scope,
            query=query,
            body=body,
            form=form,
            uploads=uploads,
            returns=(returns,) if isinstance(returns, str) else returns,
            status=status,
            problems=problems,
            tag=tag,
        )
        if scope is not None:
            checked.scope = scope  # type: ignore[attr-defined]
        return checked

    return declare


def _description(view: View) -> str:
    return re.sub(r"(?<!\n)\n[ \t]*(?!\n)", " ", (view.__doc__ or "").partition("Args:")[0]).strip()


def _answer(model: BaseModel, status: int) -> Response:
    return Response(model.model_dump_json(by_alias=True), status, mimetype=JSON)


def _fields(model: type[BaseModel], given: Mapping[str, str]) -> dict[str, object]:
    """The fields of a query string or form; a name that the model has as a list is read as often as it is given.

    Language, theme and the form's token belong to the frame, not to the model.
    """
    frame = {"lang", "theme", "csrf_token"}
    lists = {
        info.alias or name
        for name, info in model.model_fields.items()
        if "list[" in str(info.annotation) or "tuple[" in str(info.annotation)
    }
    get_list: Callable[[str], list[str]] = given.getlist  # type: ignore[attr-defined]
    return {name: get_list(name) if name in lists else given[name] for name in given if name not in frame}


def _validated_json(model: type[BaseModel]) -> BaseModel:
    if not request.is_json:
        raise UnsupportedMedia(
            f"The body is sent as {request.mimetype or 'no media type'}; send JSON with Content-Type: {JSON}.",
            content_type=request.mimetype,
        )
    try:
        return model.model_validate_json(request.get_data(cache=False))
    except ValidationError as error:
        raise _invalid(error, "body") from None


def _validated(model: type[BaseModel], data: Mapping[str, object], where: str) -> BaseModel:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _invalid(error, where) from None


def _invalid(error: ValidationError, where: str) -> InvalidInput:
    found = [
        {"where": f"{where}{place(each['loc'])}", "message": each["msg"]}
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = found[0]
    more = f" ({len(found) - 1} more in errors)" if len(found) > 1 else ""
    return InvalidInput(f"{first['where']}: {first['message']}{more}.", errors=found)


def public(view: View) -> View:
    """Mark a view that needs no key."""
    view.scope = "public"  # type: ignore[attr-defined]
    return view


def scope_of(view: View, method: str) -> str:
    """The scope that a request needs: the declared one, else by method, so that nothing is open by omission."""
    declared: str | None = getattr(view, "scope", None)
    return declared or ("read" if method in ("GET", "HEAD", "OPTIONS") else "write")


# --- the document -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Route:
    """A declared operation with its place: one path and one method."""

    path: str
    method: str
    rule: Rule
    operation: Operation


def routes(app: Flask) -> Iterator[Route]:
    """All declared operations, by path."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda each: each.rule):
        declared = getattr(app.view_functions[rule.endpoint], "operation", None)
        if declared is not None:
            path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield Route(path, method.lower(), rule, declared)


def document(app: Flask, *, title: str, summary: str, version: str, server: str = "/") -> dict[str, Any]:
    """The OpenAPI 3.1 document of all declared operations of an app."""
    found = list(routes(app))
    models: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization")]
    for route in found:
        each = route.operation
        models += [(model, "validation") for model in (each.body, each.form) if model is not None]
        if isinstance(each.returns, type):
            models.append((each.returns, "serialization"))
    refs, definitions = models_json_schema(list(dict.fromkeys(models)), ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for route in found:
        paths.setdefault(route.path, {})[route.method] = _operation(app, route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "summary": summary,
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "responses": {
                "Problem": {
                    "description": "What was refused and the way out (RFC 9457)",
                    "content": {PROBLEM_JSON: {"schema": refs[(Problem, "serialization")]}},
                }
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key (evident keys create)."},
            },
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.operation.tag for route in found) if tag],
    }


def _operation(app: Flask, route: Route, refs: Mapping[Any, Any]) -> dict[str, Any]:
    each = route.operation
    scope = scope_of(app.view_functions[route.rule.endpoint], route.method.upper())
    answer: dict[str, Any] = {"description": _REASONS.get(each.status, "Done")}
    if isinstance(each.returns, tuple):
        answer["content"] = {media: {} for media in each.returns}
    elif each.returns is not None:
        answer["content"] = {JSON: {"schema": refs[(each.returns, "serialization")]}}
    if each.status in (201, 202):
        answer["headers"] = {
            "Location": {
                "description": "Where it is from now on",
                "schema": {"type": "string", "format": "uri-reference"},
            }
        }
    problem = {"$ref": "#/components/responses/Problem"}
    named = {
        str(status): {
            "description": " / ".join(kind.title for kind in each.problems if kind.status == status),
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({kind.status for kind in each.problems})
    }
    described: dict[str, Any] = {
        "operationId": f"{route.method}_{route.rule.endpoint}".replace(".", "_"),
        "summary": each.summary,
        "description": each.description,
        "parameters": [*_path_parameters(route.rule), *_query_parameters(each.query)],
        "responses": {str(each.status): answer, **named, "default": problem},
        "security": [] if scope == "public" else [{"key": [scope]}],
    }
    if each.tag:
        described["tags"] = [each.tag]
    if each.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": refs[(each.body, "validation")]}}}
    elif each.uploads or each.form is not None:
        described["requestBody"] = {"required": True, "content": {MULTIPART: {"schema": _form_schema(each, refs)}}}
    return described


_REASONS: Final = {200: "Done", 201: "Created", 202: "Accepted; follow Location", 204: "Done; nothing to return"}
_CONVERTERS: Final[Mapping[str, dict[str, str]]] = {
    "IntegerConverter": {"type": "integer"},
    "FloatConverter": {"type": "number"},
    "UUIDConverter": {"type": "string", "format": "uuid"},
}


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for name in sorted(rule.arguments, key=rule.rule.index):
        converter = type(rule._converters[name]).__name__
        yield {"name": name, "in": "path", "required": True, "schema": _CONVERTERS.get(converter, {"type": "string"})}


def _query_parameters(model: type[BaseModel] | None) -> Iterator[dict[str, Any]]:
    if model is None:
        return
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    if "$defs" in schema:
        schema = _inlined(schema, schema.pop("$defs"))
    for name, field in schema.get("properties", {}).items():
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": field}
        if text := field.get("description"):
            parameter["description"] = text
        yield parameter


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A query's own little schemas (enumerations) have no place among the components; they are written out."""
    if isinstance(schema, dict):
        if reference := schema.get("$ref"):
            return _inlined(definitions[reference.rpartition("/")[2]], definitions)
        return {key: _inlined(value, definitions) for key, value in schema.items()}
    return [_inlined(each, definitions) for each in schema] if isinstance(schema, list) else schema


def _form_schema(each: Operation, refs: Mapping[Any, Any]) -> dict[str, Any]:
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    files = {
        "type": "object",
        "properties": dict.fromkeys(each.uploads, binary),
        "required": list(each.uploads[:1]),
    }
    return files if each.form is None else {"allOf": [files, refs[(each.form, "validation")]]}


def as_json(app_document: dict[str, Any]) -> Response:
    """The document as an answer."""
    return make_response(jsonify(app_document))
