"""What train.py, eval.py, predict.py and the tools share at the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from utils.errors import RunError, UserError


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


class _FlagWithoutEffect(argparse.Action):
    """Takes the flag's value, and notes on stderr that nothing comes of it."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        print(f"note: {option_string} is accepted for old command lines; has no effect", file=sys.stderr)


def build_parser(
    description: str, save_dir: str, log_interval: int, without_effect: tuple[str, ...] = ()
) -> argparse.ArgumentParser:
    """A parser with the flags that train.py, eval.py and predict.py have in common, the zoo's names and defaults.

    without_effect: those of these flags that the script has no use for. They are accepted, but not in its --help.
    """
    parser = argparse.ArgumentParser(
        description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model_name", default="NONLOCAL", help="the network's name; NONLOCAL is the only one")
    parser.add_argument("--config", default="./configs/nonlocal.yaml", help="YAML file (default: %(default)s)")
    parser.add_argument("--batch_size", type=int, help="overrides the configuration's")
    for flag in without_effect:
        parser.add_argument(flag, action=_FlagWithoutEffect, dest=argparse.SUPPRESS, help=argparse.SUPPRESS)
    if "--use_gpu" not in without_effect:
        parser.add_argument("--use_gpu", type=parse_switch, help="default: a GPU if there is one")
    parser.add_argument("--save_dir", default=save_dir, help="folder for what is written (default: %(default)s)")
    if "--log_interval" not in without_effect:
        parser.add_argument(
            "--log_interval",
            type=int,
            default=log_interval,
            help="steps between two lines; 0 disables them (default: %(default)s)",
        )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="a configuration key in place of the file's; may be repeated",
    )
    return parser


def run(main: Callable[[], Any]) -> None:
    """Call `main` and turn its end into an exit status: 0, or one line and 2 (input), 1 (run) or 130 (Ctrl-C)."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file name of odd bytes must not end the program
    try:
        main()
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
    """Say why in one line and end."""
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    sys.exit(status)
