"""Errors of the API: RFC 9457 problem details, application/problem+json."""

from __future__ import annotations

from http import HTTPStatus

from fastapi.responses import JSONResponse

from utils.i18n import catalogue

PROBLEM_JSON = "application/problem+json"
MAX_DETAIL = 800  # letters; a client may be quoted in it


class Problem(Exception):
    """Answered with an HTTP status and one line that says what is wrong and how to mend it."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        line = " ".join(detail.split()).encode("utf-8", "replace").decode()  # JSON may have half of a character
        self.status, self.headers = status, headers or {}
        self.detail = line if len(line) <= MAX_DETAIL else line[: MAX_DETAIL - 3] + "..."

    def content(self) -> dict:
        """The members of the body."""
        title = HTTPStatus(self.status).phrase
        content = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        if (chinese := in_chinese(self.detail)) is not None:
            content["detail_zh"] = chinese
        return content

    def response(self) -> JSONResponse:
        return JSONResponse(self.content(), self.status, self.headers, PROBLEM_JSON)


def in_chinese(text: str) -> str | None:
    """The Chinese form of one of the program's lines, or of several joined by "; "; None where no part has one."""
    table = catalogue("zh")
    parts = text.split("; ")
    found = [table.find(part) for part in parts]
    whole = None if all(found) else table.find(text)  # a line may have a "; " of its own
    if whole is not None or not any(found):
        return whole
    return "；".join(part if chinese is None else chinese for part, chinese in zip(parts, found))
