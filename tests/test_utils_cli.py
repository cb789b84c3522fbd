from __future__ import annotations

import pytest

from utils.cli import add_hidden_alias, build_parser, parse_switch, run
from utils.errors import RunError, UserError


def test_an_old_spelling_is_accepted_and_not_shown(capsys):
    parser = build_parser("what it does", save_dir="out", log_interval=1)
    parser.add_argument("--backend", choices=("a", "b"), default="a", help="what computes")
    parser.add_argument("--quiet", action="store_true", help="less output")
    add_hidden_alias(parser, "--engine", "--backend")
    add_hidden_alias(parser, "--silent", "--quiet")
    args = parser.parse_args(["--engine", "b", "--silent"])
    assert (args.backend, args.quiet) == ("b", True)
    assert parser.parse_args(["--engine=b"]).backend == "b" and parser.parse_args([]).backend == "a"
    with pytest.raises(SystemExit):
        parser.parse_args(["--engine=c"])
    assert "--backend" in capsys.readouterr().err
    assert "--backend" in parser.format_help() and "--engine" not in parser.format_help()


def test_the_help_lists_the_families():
    parser = build_parser("", save_dir="out", log_interval=1, model_names=("NONLOCAL", "S3D"))
    assert "NONLOCAL, S3D" in parser.format_help()


@pytest.mark.parametrize(("text", "value"), [("True", True), ("false", False), ("1", True), (" no ", False)])
def test_switches_are_read_as_the_zoo_writes_them(text, value):
    assert parse_switch(text) is value


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("a\nb"), 2), (RunError("x"), 1), (KeyboardInterrupt(), 130), (MemoryError(), 1)]
)
def test_an_error_is_one_line_and_a_status(error, status, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as ending:
        run(main)
    assert ending.value.code == status and len(capsys.readouterr().err.splitlines()) == 1
