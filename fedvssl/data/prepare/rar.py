"""RAR archives, through whichever program for them is installed; the format is not free, so Python has none."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fedvssl.errors import DataListError

Result = TypeVar('Result')


@dataclass(frozen=True)
class _Program:
    """How to call a program.

    Attributes:
        command: What must be on PATH.
        listing: Arguments that list the archive, '{archive}' for its path.
        extraction: Arguments that unpack it, '{target}' for the directory.
        names: Takes the members' names from what was listed.
    """

    command: str
    listing: list[str]
    extraction: list[str]
    names: Callable[[list[str]], list[str]] = list


def _names_of_7zip(lines: list[str]) -> list[str]:
    return [line.removeprefix('Path = ') for line in lines if line.startswith('Path = ')]


def _seven_zip(command: str) -> _Program:
    return _Program(command, [command, 'l', '-ba', '-slt', '{archive}'],
                    [command, 'x', '-y', '-bd', '-o{target}', '{archive}'], _names_of_7zip)


_PROGRAMS = (
    _Program('unrar', ['unrar', 'lb', '-p-', '{archive}'],
             ['unrar', 'x', '-y', '-o+', '-idq', '-p-', '{archive}', '{target}/']),
    _seven_zip('7z'),
    _seven_zip('7zz'),
    _Program('bsdtar', ['bsdtar', '-tf', '{archive}'],
             ['bsdtar', '-x', '--no-same-owner', '-f', '{archive}', '-C', '{target}']),
    _Program('unar', ['lsar', '{archive}'], ['unar', '-quiet', '-force-overwrite', '-no-directory',
                                             '-output-directory', '{target}', '{archive}'], lambda lines: lines[1:]),
)


def names(archive: Path) -> list[str]:
    """Returns the names of an archive's members.

    Raises:
        DataListError: If no program can read it.
    """
    return _try_each(archive, lambda program: program.names(_run(program.listing, archive).splitlines()))


def extract(archive: Path, target: Path) -> None:
    """Unpacks an archive into a directory of its own, which is emptied first.

    Raises:
        DataListError: If no program can unpack it.
    """

    def attempt(program: _Program) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        _run(program.extraction, archive, target)

    _try_each(archive, attempt)


def _try_each(archive: Path, attempt: Callable[[_Program], Result]) -> Result:
    """Returns what the first program gives that succeeds: some 7z and unrar know no RAR, or not all of it."""
    failures = []
    for program in _PROGRAMS:
        if shutil.which(program.listing[0]) and shutil.which(program.command):
            try:
                return attempt(program)
            except subprocess.CalledProcessError as error:
                last = (error.stderr or error.stdout or '').strip().splitlines()[-1:]
                failures.append(f'{program.command}: exit code {error.returncode} {" ".join(last)}'.strip())
    if failures:
        raise DataListError(f'{archive}: could not be unpacked ({"; ".join(failures)}); download it again, or unpack '
                            'it by hand below --videos and leave it out of --archives')
    raise DataListError(f'{archive}: unpacking .rar needs one of {", ".join(each.command for each in _PROGRAMS)}; '
                        'install one (for example the packages unrar, 7zip, libarchive-tools or unar), or unpack it by '
                        'hand below --videos and leave it out of --archives')


def _run(arguments: list[str], archive: Path, target: Path | None = None) -> str:
    command = [argument.format(archive=archive.resolve(), target=target and target.resolve())
               for argument in arguments]
    environment = dict(os.environ, LC_ALL='C.UTF-8')  # else some print '?' for what is not ASCII
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace',
                         env=environment, check=True)
    return run.stdout
