"""The official list files, as lines; and a collector of all that is wrong with them.

Lists come as a directory or as the archive they are published in. Accepted are CRLF, tabs, blanks at the end of a line
and a byte order mark; a byte that is not UTF-8 is reported with its line.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedvssl.data.list_files import SHOWN_FAULTS, decoded_lines, quoted
from fedvssl.data.prepare.archives import is_archive, unpack
from fedvssl.errors import DataListError

_DEPTH = 3  # levels of directories in which lists are looked for
_CLIMBS = re.compile(r'[/\\]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)')


class Problems:
    """Collects what is wrong, over several files, to raise it in one error that shows the first."""

    def __init__(self) -> None:
        self._count = 0
        self._shown: list[str] = []

    def add(self, place: str, reason: str | Callable[[], str]) -> None:
        """Notes a problem.

        Args:
            place: Where, e.g. ``'list.txt:12'``.
            reason: What is wrong and what to do; a function is only called if the problem will be shown.
        """
        self._count += 1
        if len(self._shown) < SHOWN_FAULTS:
            self._shown.append(f'{place}: {reason if isinstance(reason, str) else reason()}')

    def raise_if_any(self, what: str) -> None:
        """Raises `DataListError` if a problem was noted; `what` begins its message."""
        if self._count:
            more = f' (the first {SHOWN_FAULTS} are shown)' if self._count > SHOWN_FAULTS else ''
            problems = 'problem' if self._count == 1 else 'problems'
            raise DataListError('\n'.join([f'{what}: {self._count} {problems}{more}', *self._shown]))


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list file.

    Attributes:
        name: How messages call it.
        data: Its content.
    """

    name: str
    data: bytes

    def lines(self, problems: Problems) -> Iterator[tuple[str, str]]:
        """Yields place (``file:line``) and text of every line that is not blank; there must be one."""
        for number, text, fault in decoded_lines(self.data):
            if fault:
                problems.add(f'{self.name}:{number}', fault)
            else:
                yield f'{self.name}:{number}', text.strip()
        if not self.data.strip():
            problems.add(self.name, 'is empty; take it from the official archive again')


def read_list(file: Path) -> ListFile:
    """Reads one list file.

    Raises:
        DataListError: If it cannot be read.
    """
    try:
        return ListFile(str(file), file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataListError(f'{file}: cannot be read ({error}); check the path of the list') from error


def read_lists(source: Path, pattern: re.Pattern[str], expected: str) -> dict[str, ListFile]:
    """Reads all lists of a data set.

    Args:
        source: Directory with the lists (in it or up to two levels below), or the archive that holds them.
        pattern: What the file names of the lists match.
        expected: What one would find there, for the message.

    Returns:
        The lists by file name.

    Raises:
        DataListError: If there are none, or two of the same name.
    """
    if source.is_dir():
        found = _read_below(source, str(source), pattern)
    elif is_archive(source):
        with tempfile.TemporaryDirectory() as directory:
            for _ in unpack([source], Path(directory), {'.txt'}):
                pass
            found = _read_below(Path(directory), str(source), pattern)
    else:
        raise DataListError(f'{source}: neither a directory nor an archive (.zip, .tar, .tar.gz, .rar) of lists; '
                            f'expected {expected}')
    if not found:
        raise DataListError(f'{source}: holds none of the lists; expected {expected}')
    return found


def _read_below(directory: Path, shown: str, pattern: re.Pattern[str]) -> dict[str, ListFile]:
    found: dict[str, ListFile] = {}
    for folder, folders, names in os.walk(directory):
        inside = Path(folder).relative_to(directory)
        folders[:] = sorted(folders) if len(inside.parts) + 1 < _DEPTH else []
        for name in filter(pattern.fullmatch, sorted(names)):
            file = read_list(Path(folder, name))
            display = str(Path(shown) / inside / name)
            if name in found:
                raise DataListError(f'{shown}: holds {name} twice, as {found[name].name} and as {display}; '
                                    'give the directory of one of them')
            found[name] = ListFile(display, file.data)
    return found


def require(found: Mapping[str, ListFile], names: list[str], source: Path) -> None:
    """Raises `DataListError` if one of the lists `names` is not among those found."""
    missing = [name for name in names if name not in found]
    if missing:
        shown = ', '.join(missing[:SHOWN_FAULTS]) + (' ...' if len(missing) > SHOWN_FAULTS else '')
        raise DataListError(f'{source}: {len(missing)} of the {len(names)} lists missing: {shown}; '
                            'unpack the official lists there again')


def path_fault(path: str) -> str | None:
    """Returns what is wrong with a path that a list names: nothing may lead out of the directory of videos."""
    if _CLIMBS.match(path):
        return f'{quoted(path)} is absolute or contains ".."; a video is named by its path below the videos'
    return None
