"""Rules about the machine and the process: directories, limits, encodings, environment variables."""

import codecs
import os
import shutil
from collections.abc import Callable, Mapping
from tempfile import NamedTemporaryFile

from fedvssl.findings import Finding, Severity

_SPACE = 2**30
_FILES = 256

_PICKLE_SWITCH = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def check_directory(name: str, locate: Callable[[], str | os.PathLike[str]], severity: Severity) -> list[Finding]:
    """Finds a directory that is not there, that cannot be written to, or whose disk is nearly full.

    Args:
        name: What to call it.
        locate: Returns it, or raises an OSError if there is none.
        severity: Of a directory that cannot be used.
    """
    try:
        directory = locate()
        with NamedTemporaryFile(dir=directory):
            free = shutil.disk_usage(directory).free
    except OSError as error:
        return [Finding(severity, 'not-writable', name, str(error), 'make it writable, or use another one')]
    return check_space(name, free)


def check_space(name: str, free: int) -> list[Finding]:
    """Finds less than 1 GiB (`free` is in bytes) left on the disk of a directory."""
    if free >= _SPACE:
        return []
    return [Finding(Severity.WARNING, 'space', name, f'{free / _SPACE:.2f} GiB free', 'free at least 1 GiB')]


def check_open_files(limit: int) -> list[Finding]:
    """Finds a limit of open files that a few workers would exceed; negative is none."""
    if not 0 <= limit < _FILES:
        return []
    return [Finding(Severity.WARNING, 'limit', 'open files', f'this process may have {limit} at a time',
                    'ulimit -n 4096 before the run')]


def check_encodings(names: str, text: str) -> list[Finding]:
    """Finds encodings of file names and of text files other than UTF-8."""
    return [Finding(Severity.WARNING, 'encoding', what, f'{encoding}, not UTF-8',
                    'export PYTHONUTF8=1, or LC_ALL=C.UTF-8')
            for what, encoding in (('file names', names), ('text files', text))
            if codecs.lookup(encoding).name != 'utf-8']


def check_variables(environment: Mapping[str, str]) -> list[Finding]:
    """Finds the switch that lets other programs' `torch.load` execute what is in a file."""
    if environment.get(_PICKLE_SWITCH, '').lower() not in ('1', 'y', 'yes', 'true'):  # those that torch heeds
        return []
    message = 'lets torch.load execute code from files wherever weights_only is not given (fedvssl always gives it)'
    return [Finding(Severity.WARNING, 'unpickling', _PICKLE_SWITCH, message, f'unset {_PICKLE_SWITCH}')]
