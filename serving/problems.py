"""Errors of the API: RFC 9457 problem details, application/problem+json."""

from __future__ import annotations

from http import HTTPStatus

from fastapi.responses import JSONResponse

PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """Answered with an HTTP status and one line that says what is wrong and how to mend it."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.detail, self.headers = status, " ".join(detail.split()), headers or {}

    def response(self) -> JSONResponse:
        title = HTTPStatus(self.status).phrase
        content = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return JSONResponse(content, self.status, self.headers, PROBLEM_JSON)
