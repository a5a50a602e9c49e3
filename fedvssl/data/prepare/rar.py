"""RAR archives, through whichever program for them is installed; the format is not free, so Python has none.

Only the listing of 7-Zip tells which members are links; of the others they show when the archive is unpacked.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fedvssl.errors import DataListError

Result = TypeVar('Result')
_MODE_OF_LINK = re.compile(r'(?:^| )l[r-][w-]')


@dataclass(frozen=True)
class _Program:
    """How to call a program.

    Attributes:
        command: What must be on PATH.
        listing: Arguments that list the archive, '{archive}' for its path.
        extraction: Arguments that unpack it, '{target}' for the directory.
        members: Takes from what was listed the members' names, and whether they are known to be links.
    """

    command: str
    listing: list[str]
    extraction: list[str]
    members: Callable[[list[str]], list[tuple[str, bool]]]


def _plain(lines: list[str]) -> list[tuple[str, bool]]:
    return [(line, False) for line in lines]


def _of_7zip(lines: list[str]) -> list[tuple[str, bool]]:
    """Reads lines 'KEY = VALUE', 'Path' first for each member; two may hold a mode as of ls."""
    members: list[tuple[str, bool]] = []
    for line in lines:
        key, _, value = line.partition(' = ')
        if key == 'Path':
            members.append((value, False))
        elif members and (key in ('Symbolic Link', 'Hard Link') and value
                          or key in ('Attributes', 'Mode') and _MODE_OF_LINK.search(value)):
            members[-1] = members[-1][0], True
    return members


def _seven_zip(command: str) -> _Program:
    return _Program(command, [command, 'l', '-ba', '-slt', '{archive}'],
                    [command, 'x', '-y', '-bd', '-o{target}', '{archive}'], _of_7zip)


_PROGRAMS = (
    _Program('unrar', ['unrar', 'lb', '-p-', '{archive}'],
             ['unrar', 'x', '-y', '-o+', '-idq', '-p-', '{archive}', '{target}/'], _plain),
    _seven_zip('7z'),
    _seven_zip('7zz'),
    _Program('bsdtar', ['bsdtar', '-tf', '{archive}'],
             ['bsdtar', '-x', '--no-same-owner', '-f', '{archive}', '-C', '{target}'], _plain),
    _Program('unar', ['lsar', '{archive}'],
             ['unar', '-quiet', '-force-overwrite', '-no-directory', '-output-directory', '{target}', '{archive}'],
             lambda lines: _plain(lines[1:])),
)


def listed(archive: Path) -> list[tuple[str, bool]]:
    """Returns the names of an archive's members, and whether the listing tells that they are links.

    Raises:
        DataListError: If no program can read it.
    """
    return _try_each(archive, lambda program: program.members(_run(program.listing, archive).splitlines()))


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
