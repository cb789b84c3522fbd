"""The page: its files at /, and /docs, a plain page made from the OpenAPI document. No file comes from elsewhere."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

FOLDER = Path(__file__).parent / "page"
FILES = {  # path -> file and media type
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/en.json": ("en.json", "application/json"),
    "/zh.json": ("zh.json", "application/json"),
}


def page_router() -> APIRouter:
    """The routes of the page, whose files are read once."""
    router = APIRouter(include_in_schema=False)
    for path, (name, media_type) in FILES.items():
        router.add_api_route(path, _sender((FOLDER / name).read_bytes(), media_type), methods=["GET", "HEAD"])

    @router.get("/docs")
    def docs(request: Request):
        return _response(docs_page(request.app.openapi()).encode(), "text/html")

    return router


def _sender(content: bytes, media_type: str):
    def send():
        return _response(content, media_type)

    return send


def _response(content: bytes, media_type: str) -> Response:
    return Response(content, media_type=f"{media_type}; charset=utf-8", headers={"Cache-Control": "no-cache"})


def docs_page(schema: dict[str, Any]) -> str:
    """The OpenAPI document as HTML: routes with what they take and answer, then the schemas."""
    escape = html.escape
    title = escape(schema["info"]["title"])
    parts = [f"<h1>{title}</h1><p><a href='/'>page</a> · <a href='/api/v1/openapi.json'>openapi.json</a></p>"]
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(route.get('description') or route.get('summary', ''))}</p>")
            rows = [(p["name"], p["in"], p.get("description", "")) for p in route.get("parameters", [])]
            rows += [("body", kind, _reference(body)) for kind, body in _contents(route.get("requestBody", {}))]
            for status, answer in route.get("responses", {}).items():
                kinds = _contents(answer) or [("", {})]
                rows += [
                    (status, kind, f"{_reference(body)} {answer.get('description', '')}".strip())
                    for kind, body in kinds
                ]
            cells = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
            parts.append("<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>")
    parts.append("<h2>Schemas</h2>")
    for name, body in schema.get("components", {}).get("schemas", {}).items():
        parts.append(f"<h3>{escape(name)}</h3><pre>{escape(json.dumps(body, indent=1, ensure_ascii=False))}</pre>")
    head = (
        f"<meta charset=utf-8><title>{title}</title><link rel=icon href='data:,'><link rel=stylesheet href='/page.css'>"
    )
    return (
        f"<!doctype html><html lang=en><head>{head}</head><body class=docs><main>{''.join(parts)}</main></body></html>"
    )


def _contents(holder: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(holder.get("content", {}).items())


def _reference(body: dict[str, Any]) -> str:
    """The name of the schema that a body refers to, or its type."""
    schema = body.get("schema", {})
    return schema.get("$ref", "").rpartition("/")[2] or str(schema.get("type", ""))
