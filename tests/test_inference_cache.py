"""Exported networks are kept, found again, rebuilt when damaged, and dropped when there are many."""

from __future__ import annotations

import os
import time

import pytest

from inference import cache
from utils.errors import RunError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home/exported"


class Exporter:
    def __init__(self, text="net", facts=None):
        self.text, self.facts, self.calls = text, facts or {"n": 1}, 0

    def write(self, folder):
        self.calls += 1
        (folder / "net.bin").write_text(self.text)
        return self.facts


def test_an_entry_is_built_once(home):
    exporter = Exporter()
    for _ in range(2):
        folder, facts = cache.fetch("a", exporter)
        assert (folder, facts, (folder / "net.bin").read_text()) == (home / "a", {"n": 1}, "net")
    assert exporter.calls == 1 and os.listdir(home) == ["a"]


@pytest.mark.parametrize("damage", ["cut", "other bytes", "missing", "no manifest", "half a manifest", "odd manifest"])
def test_a_damaged_entry_is_built_anew(home, damage):
    exporter = Exporter()
    folder, _ = cache.fetch("a", exporter)
    file, manifest = folder / "net.bin", folder / cache.MANIFEST
    if damage == "cut":
        file.write_text("n")
    elif damage == "other bytes":
        file.write_text("nat")
    elif damage == "missing":
        file.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text('{"sha256": ' if damage == "half a manifest" else '{"sha256": [1]}')
    folder, facts = cache.fetch("a", exporter)
    assert exporter.calls == 2 and (folder / "net.bin").read_text() == "net" and facts == {"n": 1}


def test_a_failed_build_leaves_nothing(home):
    class Failing:
        def write(self, folder):
            (folder / "net.bin").write_text("half")
            raise RunError("no")

    with pytest.raises(RunError):
        cache.fetch("a", Failing())
    assert os.listdir(home) == []


def test_another_process_may_have_been_faster(home):
    other = Exporter()

    class Slower:
        def write(self, folder):
            cache.fetch("a", other)
            return Exporter().write(folder)

    folder, _ = cache.fetch("a", Slower())
    assert (folder / "net.bin").read_text() == "net" and os.listdir(home) == ["a"]


def test_the_entries_used_last_are_kept(home, monkeypatch):
    monkeypatch.setattr(cache, "MAX_ENTRIES", 2)
    for name in "abc":
        cache.fetch(name, Exporter())
        os.utime(home / name / cache.MANIFEST, (time.time() - 100 + ord(name),) * 2)
    leftover = home / ".part.x"
    leftover.mkdir()
    os.utime(leftover, (1, 1))
    cache.fetch("b", Exporter())
    assert sorted(os.listdir(home)) == ["b", "c"]
    cache.fetch("a", Exporter())
    assert sorted(os.listdir(home)) == ["a", "b"]  # c is newer than b, and was not used since


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "file"))
    with pytest.raises(RunError, match="PADDLE_NONLOCAL_HOME"):
        cache.fetch("a", Exporter())


def test_keys_follow_from_the_facts():
    assert cache.key_of({"a": 1, "b": None}) == cache.key_of({"b": None, "a": 1}) != cache.key_of({"a": 2, "b": None})
