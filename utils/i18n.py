"""Help texts and error lines in Chinese where the locale is Chinese, in English everywhere else.

The program is written in English: flags, help texts and errors are plain literals where they are used. utils/cli.py
looks them up here at the two places where they are printed (`Parser` and `stop`). The one table is
utils/messages_zh.py; it is imported when the locale is Chinese, and only then. Exit statuses, flags, keys and
everything that is written into files (JSON, CSV, logs) do not depend on the locale.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import re
import string
import sys
import unicodedata
from collections.abc import Mapping

TABLES = {"zh": "utils.messages_zh"}
MESSAGE_FIELDS = ("cause", "hint")  # placeholders whose value is a message of its own: it is translated too
PATTERNS = {"hint": "(?:; .*)?", "number": r"\S*?"}  # what placeholders that begin so stand for; others: anything
_OPENING = "（「《“"
_CLOSING = "，。；：、）」》”！？"


def language(environment: Mapping[str, str] | None = None) -> str:
    """'zh' where the locale asks for Chinese and the terminal can show it, else 'en'.

    As GNU gettext does: the locale is the first of LC_ALL, LC_MESSAGES and LANG that is set; LANGUAGE, a list such as
    zh_CN:en, overrides it unless the locale is C or POSIX.
    """
    environment = os.environ if environment is None else environment
    locale = next(filter(None, (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    wanted = [locale]
    if re.split("[.@]", locale)[0] not in ("C", "POSIX"):
        wanted = [*filter(None, environment.get("LANGUAGE", "").split(":")), locale]
    for name in wanted:
        code = re.split("[_.@-]", name.lower())[0]
        if code == "en":
            return "en"
        if code in TABLES:
            return code if _can_show("译文") else "en"
    return "en"


def tr(text: str) -> str:
    """`text` in the language of the locale; unchanged where that is English or the table does not have it."""
    code = language()
    return text if code == "en" else catalogue(code).translate(text)


@functools.cache
def catalogue(code: str) -> Catalogue:
    """The table of a language, read once."""
    return Catalogue(importlib.import_module(TABLES[code]).MESSAGES)


class Catalogue:
    """English text -> text in another language.

    Args:
        messages: English -> other, both with `{name}` for what changes from case to case (`{{` and `}}` are braces).
    """

    def __init__(self, messages: Mapping[str, str]):
        self.exact: dict[str, str] = {}
        templates = []
        for english, other in messages.items():
            parts = [(text, field) for text, field, *_ in string.Formatter().parse(english)]
            literals = [text for text, _ in parts if text]
            if any(field is not None for _, field in parts):
                templates.append((not parts[0][0], -sum(map(len, literals)), english, other, parts, literals))
            else:
                self.exact["".join(literals)] = other.format()
        # Of several templates that fit, the one with the most text of its own is meant; one that begins with its own
        # text is tried before those that begin with a name of any kind.
        self.templates = [template[3:] for template in sorted(templates, key=lambda template: template[:3])]

    def find(self, text: str) -> str | None:
        """The translation of `text`, or None where the table has no entry that fits."""
        if text in self.exact:
            return self.exact[text]
        for other, parts, literals in self.templates:
            match = _appear_in_order(literals, text) and re.fullmatch(_pattern(tuple(parts)), text, re.DOTALL)
            if not match:
                continue
            values = match.groupdict()
            if not any(map(str.isalpha, "".join(literals))) and self.find(values["cause"]) is None:
                continue  # "{path}: {cause}" fits anything: it is meant where the cause is known
            return other.format(**{name: self._translate_field(name, value) for name, value in values.items()})
        return None

    def _translate_field(self, name: str, value: str) -> str:
        if name not in MESSAGE_FIELDS:
            return value
        found = self.find(value)
        if found is None and value.startswith("; "):
            return "；" + self.translate(value[2:])
        return value if found is None else found

    def translate(self, text: str) -> str:
        """The translation of `text`, or `text` itself where the table has no entry that fits."""
        found = self.find(text)
        return text if found is None else found

    def translate_paragraphs(self, text: str) -> str:
        """Each paragraph by itself, looked up as one line; what the table lacks (command lines) stays as it is."""
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(self.exact.get(" ".join(paragraph.split()), paragraph) for paragraph in paragraphs)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's help in the language of the locale; the parser itself stays English."""

    def add_usage(self, usage, actions, groups, prefix=None) -> None:
        if prefix is None and language() != "en":
            prefix = tr("usage: ")
        super().add_usage(usage, actions, groups, prefix)

    def start_section(self, heading) -> None:
        super().start_section(tr(heading) if heading else heading)

    def add_text(self, text) -> None:
        code = language()
        if code != "en" and isinstance(text, str) and text is not argparse.SUPPRESS:
            text = catalogue(code).translate_paragraphs(text)
        super().add_text(text)

    def _get_help_string(self, action) -> str:
        return tr(super()._get_help_string(action) or "")

    def _split_lines(self, text: str, width: int) -> list[str]:
        return super()._split_lines(text, width) if language() == "en" else wrap(text, width)


def wrap(text: str, width: int) -> list[str]:
    """Cut `text` into lines of at most `width` columns of a terminal, in which a Chinese character takes two.

    A line ends at a space or beside a Chinese character; punctuation stays with the word that it belongs to.
    """
    word = rf"[{_OPENING}]*(?:[!-~]+|[^\s!-~])[{_CLOSING}]*|\s+"
    lines = [""]
    for piece in re.findall(word, " ".join(text.split())):
        if lines[-1] and columns(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines]


def columns(text: str) -> int:
    """Columns that a terminal needs for `text`."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _can_show(text: str) -> bool:
    """Whether stdout and stderr can encode `text`."""
    for stream in (sys.stdout, sys.stderr):
        try:
            text.encode(getattr(stream, "encoding", None) or "utf-8")
        except (UnicodeEncodeError, LookupError):
            return False
    return True


def _appear_in_order(literals: list[str], text: str) -> bool:
    """Whether all of `literals` are in `text`, one behind the other: quick, before a pattern is tried."""
    place = 0
    for literal in literals:
        place = text.find(literal, place)
        if place < 0:
            return False
        place += len(literal)
    return True


@functools.cache
def _pattern(parts: tuple[tuple[str, str | None], ...]) -> str:
    """The regular expression of a template; a name that comes twice stands for the same text twice."""
    pattern, seen = "", set()
    for text, field in parts:
        pattern += re.escape(text)
        if field is not None:
            pattern += f"(?P={field})" if field in seen else f"(?P<{field}>{PATTERNS.get(field.split('_')[0], '.*?')})"
            seen.add(field)
    return pattern
