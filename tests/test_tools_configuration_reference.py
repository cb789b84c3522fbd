from __future__ import annotations

import dataclasses
import typing

import pytest

from configs.schema import Config
from tests.script_runs import ROOT
from tools.configuration_reference import PAGES, reference


@pytest.mark.parametrize("language", PAGES)
def test_the_configuration_pages_are_current(language):
    page = (ROOT / PAGES[language]).read_text(encoding="utf-8")
    assert page == reference(language), "run python -m tools.configuration_reference"


@pytest.mark.parametrize("language", PAGES)
def test_every_key_has_its_line_in_its_section(language):
    sections = reference(language).split("\n## ")
    for name, kind in typing.get_type_hints(Config).items():
        (section,) = [text for text in sections if text.startswith(name + "\n")]
        for field in dataclasses.fields(kind):
            assert section.count(f"\n| `{field.name}` |") == 1
    assert all(line.count("|") == 5 for text in sections[1:9] for line in text.splitlines() if line.startswith("|"))
