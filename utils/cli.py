"""What train.py, eval.py, predict.py and the tools share at the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from utils.errors import RunError, UserError
from utils.i18n import HelpFormatter, language, tr


def parse_switch(text: str) -> bool:
    """True or False as the zoo's flags write them (--use_gpu=True); 1, 0, yes and no in any case too."""
    word = text.strip().lower()
    if word in ("true", "1", "yes"):
        return True
    if word in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected True or False, found {text!r}")


def positive_int(text: str) -> int:
    """A whole number above 0."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")


def positive_seconds(text: str) -> float:
    """A number above 0."""
    return _above_zero(text, f"expected seconds above 0, found {text!r}")


def positive_minutes(text: str) -> float:
    """A number above 0."""
    return _above_zero(text, f"expected minutes above 0, found {text!r}")


def positive_hours(text: str) -> float:
    """A number above 0."""
    return _above_zero(text, f"expected hours above 0, found {text!r}")


def _above_zero(text: str, complaint: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if 0 < number < float("inf"):
        return number
    raise argparse.ArgumentTypeError(complaint)


def gigabytes(text: str) -> int:
    """A number of gigabytes above 0, as bytes."""
    try:
        num_bytes = int(1e9 * float(text))
    except (ValueError, OverflowError):
        num_bytes = 0
    if num_bytes > 0:
        return num_bytes
    raise argparse.ArgumentTypeError(f"expected gigabytes above 0, found {text!r}")


def ratio(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value <= 1:
        return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")


class Parser(argparse.ArgumentParser):
    """argparse's parser; help and usage errors are in Chinese where the locale is (utils/i18n.py)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        if language() == "en":
            super().error(message)
        self.print_usage(sys.stderr)
        self.exit(UserError.status, f"{self.prog}: {tr('error: ')}{tr(message)}\n")


class _FlagWithoutEffect(argparse.Action):
    """Accepts the flag's value and prints a note on stderr that it has no effect."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        print(f"note: {option_string} is accepted for old command lines; has no effect", file=sys.stderr)


def add_hidden_alias(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """Accept the flag `old` (with its dashes) exactly as `new`, a flag of the parser; --help shows `new` only."""
    parser._option_string_actions[old] = parser._option_string_actions[new]


def build_parser(
    description: str,
    save_dir: str,
    log_interval: int,
    without_effect: tuple[str, ...] = (),
    model_names: Iterable[str] = ("NONLOCAL",),
) -> argparse.ArgumentParser:
    """A parser with the flags that train.py, eval.py and predict.py have in common, the zoo's names and defaults.

    Args:
        description: the text above the flags in --help.
        save_dir: default of --save_dir.
        log_interval: default of --log_interval, in steps.
        without_effect: those of these flags that the script has no use for; accepted, but not in its --help.
        model_names: the names that --model_name lists in --help (the keys of models.FAMILIES).
    """
    parser = Parser(description=description, allow_abbrev=False)
    add_config_flags(parser, model_names)
    for flag in without_effect:
        parser.add_argument(flag, action=_FlagWithoutEffect, dest=argparse.SUPPRESS, help=argparse.SUPPRESS)
    if "--use_gpu" not in without_effect:
        add_gpu_flag(parser)
    parser.add_argument("--save_dir", default=save_dir, help="output folder (default: %(default)s)")
    if "--log_interval" not in without_effect:
        parser.add_argument(
            "--log_interval",
            type=int,
            default=log_interval,
            help="steps between two progress lines; 0 disables them (default: %(default)s)",
        )
    return parser


def add_config_flags(parser: argparse.ArgumentParser, model_names: Iterable[str]) -> None:
    """Add --model_name, --config, -o and --batch_size, from which `configs.config_from_args` makes a configuration."""
    parser.add_argument(
        "--model_name", help=f"family of networks: {', '.join(model_names)} (default: the configuration's)"
    )
    parser.add_argument(
        "--config", help="YAML file (default: the family's, ./configs/nonlocal.yaml or ./configs/s3d.yaml)"
    )
    parser.add_argument("--batch_size", type=int, help="clips in a step; overrides the configuration")
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key of the configuration; may be repeated",
    )


def add_gpu_flag(parser: argparse.ArgumentParser) -> None:
    """Add --use_gpu, the argument of `choose_device`."""
    parser.add_argument("--use_gpu", type=parse_switch, help="True or False; auto-detected when omitted")


at_end: list[Callable[[int], None]] = []  # called with the exit status by `run`, where the program ends in order


def run(main: Callable[[], Any]) -> None:
    """Call `main` and exit with its status: 0; or one line on stderr and 2 (input), 1 (run) or 130 (Ctrl-C)."""
    for stream in (sys.stdout, sys.stderr):  # a file name of odd bytes must not end the program
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        main()
        _call_at_end(0)
    except (UserError, RunError) as error:
        stop(str(error), error.status)
    except MemoryError:
        stop("out of memory; choose a smaller batch_size or fewer num_reader_threads", RunError.status)
    except KeyboardInterrupt:
        stop("stopped by Ctrl-C", 130)
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        sys.stderr.close()
        sys.exit(RunError.status)


def stop(message: str, status: int) -> None:
    """Print the reason in one line on stderr and exit with `status`."""
    print(tr("error: ") + tr(" ".join(message.splitlines())), file=sys.stderr)
    _call_at_end(status)
    sys.exit(status)


def _call_at_end(status: int) -> None:
    for call in at_end:
        call(status)
