"""What the tools share: options, errors to exit codes, signals."""

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fedvssl.errors import INTERNAL_ERROR, FedVSSLError, Interrupted, StorageError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def config_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with what every tool that reads a config takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_options(parser)
    return parser


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Gives a parser, or that of a subcommand, what every tool that reads a config takes."""
    parser.add_argument('config', help='config file (.py)')
    parser.add_argument('--work-dir',
                        help='where results go (default: below work_dirs, after the config and what is done)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
                        help='override config values, e.g. federation.strategy.alpha=0.5 data.root=/my/videos')


def run_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with what both pretraining tools take."""
    parser = config_parser(description)
    parser.add_argument('--resume', action='store_true', help='continue the run in the work directory')
    parser.add_argument('--check', action='store_true', help='check config, lists and one sample, then stop')
    return parser


def split_parser(description: str, out_path: str) -> argparse.ArgumentParser:
    """Returns a parser with what the scripts that split a list take; the published ones spell it with underscores."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--input_path', '--input-path', type=Path, required=True, metavar='LIST',
                        help='list of names and labels (.txt, .json or .csv)')
    parser.add_argument('--out_path', '--out-path', type=Path, default=Path(out_path), metavar='DIR',
                        help=f'where client_dist1.json ... go (default: {out_path})')
    parser.add_argument('--num-clients', type=int, help='default: 100')
    parser.add_argument('--label-base', type=int, default=1, choices=(0, 1),
                        help="the list's number of the first class (default: 1, as published)")
    parser.add_argument('--report', action='store_true', help='write report.json and a heat map, report.png, too')
    parser.add_argument('--manifest', type=Path, metavar='NPZ', help='take the clients from a manifest')
    parser.add_argument('--save-manifest', type=Path, metavar='NPZ', help='write a manifest of the split')
    parser.add_argument('--overwrite', action='store_true', help='replace the files of another split')
    return parser


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """Turns ``key=value`` arguments into a dictionary; values are Python literals, or else strings.

    Raises:
        ConfigError: If an argument is not of that form.
    """
    import ast

    from fedvssl.errors import ConfigError

    options = {}
    for pair in pairs:
        key, separator, text = pair.partition('=')
        if not separator or not key:
            raise ConfigError(f'--cfg-options: {pair!r} is not of the form key=value')
        try:
            options[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[key] = {'true': True, 'false': False, 'none': None}.get(text.lower(), text)
    return options


def run_tool(main: Callable[[], None]) -> int:
    """Runs a tool's main function and returns its exit code; errors of the input become one message, no traceback."""
    logging.basicConfig(format='%(levelname)s: %(message)s', level=logging.WARNING, stream=sys.stderr)
    try:
        with stopping_on_signals():
            main()
    except (FedVSSLError, Interrupted) as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERNAL_ERROR
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:  # for the output, where that goes into a file
            _complain(f'{error}; make room and try again')
            return StorageError.exit_code
        traceback.print_exc()
        return INTERNAL_ERROR
    return 0


def _complain(message: str) -> None:
    with contextlib.suppress(OSError):  # the exit code still tells
        sys.stderr.write(f'error: {message}\n')


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turns SIGINT, SIGTERM and SIGHUP into `Interrupted`, wherever the program is; commits are atomic anyway."""

    def stop(number: int, frame: object) -> None:
        raise Interrupted(f'{signal.Signals(number).name}: stopped; what trains continues from its last finished '
                          f'round or epoch with --resume; run other tools again')

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # a closed terminal, unless `nohup` said it does not matter
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
