"""The API documentation as one plain page, made from the OpenAPI document: no script, no CDN."""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(tags=["docs"])

_STYLE = """
body{font:14px/1.45 system-ui;max-width:72rem;margin:24px auto;padding:0 24px;
color-scheme:light dark} h1{font-size:20px} h2{font-size:16px;margin-top:32px}
code,pre{font-family:ui-monospace,monospace;font-size:13px} table{border-collapse:collapse}
td,th{text-align:left;padding:4px 12px 4px 0;vertical-align:top;border-bottom:1px solid #7c8593}
section{border-top:1px solid #7c8593;padding:8px 0} .m{font-weight:600}
"""


@router.get("/api/docs", response_class=HTMLResponse)
async def show_docs(request: Request) -> HTMLResponse:
    """Show every route with its parameters and answers."""
    document = request.app.state.openapi()
    policy = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(render(document), headers=policy)


def render(document: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in sorted(document["paths"].items())
        for method, operation in methods.items()
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])} API"
        f"</title><style>{_STYLE}</style><h1>{escape(info['title'])} API {escape(info['version'])}"
        "</h1><p>Send <code>Authorization: Bearer TOKEN</code>; <code>zpctl status</code> prints "
        "the path of the token's file. The machine-readable form is "
        f"<a href=/api/openapi.json>/api/openapi.json</a>.</p>{operations}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    name = f"{method.upper()} {path}"
    rows = "".join(_parameter(parameter) for parameter in operation.get("parameters", []))
    table = f"<table><tr><th>parameter<th>in<th>meaning{rows}</table>" if rows else ""
    answers = ", ".join(sorted(operation["responses"]))
    return (
        f"<section><h2><code class=m>{escape(name)}</code></h2>"
        f"<p>{escape(operation.get('description', ''))}</p>{table}{_body(operation)}"
        f"<p>Answers: {escape(answers)}</p></section>"
    )


def _parameter(parameter: dict[str, Any]) -> str:
    meaning = parameter.get("description", "")
    required = " (required)" if parameter.get("required") else ""
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code>{required}<td>{escape(parameter['in'])}"
        f"<td>{escape(meaning)}"
    )


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return ""
    schema = content["schema"]
    references = [part.get("$ref", "") for part in schema.get("anyOf", [schema])]
    names = " or ".join(reference.rpartition("/")[2] for reference in references)
    return f"<p>Body: <code>{escape(names)}</code> as JSON</p>"
