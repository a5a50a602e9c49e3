"""Writes the annotation list and what is missing from it, and says what was found.

Both files appear whole or not at all: they are written beside their place, the list is read back by the reader that
training uses, then they are moved. The same directory of videos gives the same bytes.
"""

import csv
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedvssl.commit import fsync
from fedvssl.data.annotations import UNLABELLED, read_annotations
from fedvssl.data.list_files import quoted
from fedvssl.data.prepare.catalogue import Catalogue
from fedvssl.data.prepare.locate import Located
from fedvssl.errors import ConfigError, DataListError, StorageError

_FEW = 3  # examples in a message


@dataclass
class Summary:
    """What was prepared, in lines to be printed.

    Attributes:
        out: The annotation list.
        root: The directory of videos.
        lines: What there is to say.
        options: Config values to use, beside data.root and data.annotations.
    """

    out: Path
    root: Path
    lines: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        """Yields all lines; the last are the options to use."""
        yield from self.lines
        out, root = self.out.resolve(), self.root.resolve()
        inside = out.is_relative_to(root)
        annotations = str(out.relative_to(root) if inside else out)
        if not inside:
            yield f'its paths are relative to {root}: set data.root and data.annotations as below'
        values = [f'data.root={root}', f'data.annotations={annotations}', *self.options]
        yield '--cfg-options ' + ' '.join(map(shlex.quote, values))


def out_file(out: Path | None, root: Path) -> Path:
    """Returns where the list goes, by default ``annotations.csv`` in the directory of videos.

    Raises:
        ConfigError: If it would be no CSV file.
    """
    file = root / 'annotations.csv' if out is None else out
    if file.suffix.lower() != '.csv' or file.is_dir():
        raise ConfigError(f'--out {file}: must be the name of a .csv file')
    return file


def missing_file(out: Path) -> Path:
    """Returns where the missing videos are listed: ``annotations.missing.csv`` beside ``annotations.csv``."""
    return out.with_suffix('.missing.csv')


def write_catalogue(catalogue: Catalogue, located: Located, root: Path, out: Path) -> Summary:
    """Writes the videos that were found, and beside them those that were not.

    Raises:
        DataListError: If the list cannot be read back as it was meant.
        StorageError: If it cannot be written.
    """
    both = list(zip(catalogue.videos, located.paths, strict=True))
    write_list(out, root, ['path', 'label', 'class', *catalogue.columns],
               [(path, video.label, video.class_name, *video.values) for video, path in both if path])
    missing = [(video.official, video.class_name, *video.values) for video, path in both if not path]
    write_or_remove(missing_file(out), ['name', 'class', *catalogue.columns], missing)
    return Summary(out, root, _found(catalogue, located, len(missing), out), _options(catalogue))


def _options(catalogue: Catalogue) -> list[str]:
    """Returns what a config must be told about the splits."""
    options = [] if catalogue.split_column == 'split' else [f'data.split_column={catalogue.split_column}']
    position = catalogue.columns.index(catalogue.split_column)
    parts = {video.values[position] for video in catalogue.videos}
    return [*options, 'data.test.split=val'] if 'val' in parts and 'test' not in parts else options


def write_list(out: Path, root: Path, header: Sequence[str], rows: Sequence[Sequence[str | int]],
               own: bool = False) -> None:
    """Writes an annotation list and reads it back before it takes its place.

    Args:
        out: The file.
        root: What its paths are relative to.
        header: Columns; the first is ``path``, the second may be ``label``.
        rows: Values of each row; a label that is an integer counts from 0, one that is text is taken as it is.
        own: Whether whatever is there is ours to replace.

    Raises:
        DataListError: If a name cannot be put in a list: it has line breaks, or blanks at its ends.
        StorageError: If it cannot be written, or would replace a list with other columns.
    """
    if not own:
        _check_replaceable(out, header)
    with _replacing(out) as temporary:
        try:
            _write(temporary, header, rows)
        except UnicodeEncodeError as error:
            raise DataListError(f'{out}: the name of a file or directory is not UTF-8: '
                                f'{quoted(error.object.strip())}; rename it') from error
        _compare(temporary, out, root, header, rows)


def _check_replaceable(out: Path, header: Sequence[str]) -> None:
    """Refuses to replace what looks like somebody else's file."""
    try:
        with out.open(encoding='utf-8', errors='replace') as file:
            there = file.readline().strip()
    except OSError:
        return  # not there; or the writing will fail, and say why
    if there and next(csv.reader([there])) != list(header):
        raise StorageError(f'{out}: is there and has other columns ({quoted(there)}) than {",".join(header)}; move it '
                           'away, or choose another --out')


def _compare(file: Path, out: Path, root: Path, header: Sequence[str], rows: Sequence[Sequence[str | int]]) -> None:
    try:
        videos = read_annotations(file, root)
    except DataListError as error:
        raise DataListError('these rows would not be readable; rename the files:\n'
                            + str(error).replace(str(file), str(out))) from error
    labelled = 'label' in header
    for video, row in zip(videos, rows, strict=True):
        label = row[1] if labelled else UNLABELLED
        # One that is text is a class name, or a number of another list that the config explains.
        if video.path != row[0] or isinstance(label, int) and video.label != label:
            raise DataListError(f'{out}: {row[0]!r} would be read as {video.path!r}; rename the file or directory')


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open('w', newline='', encoding='utf-8') as stream:
        writer = csv.writer(stream, lineterminator='\n')
        writer.writerow(header)
        writer.writerows(rows)
        stream.flush()
        fsync(stream.fileno())


def write_or_remove(file: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Writes a table of what is missing or bad; where nothing is, an earlier one goes.

    Raises:
        StorageError: If it cannot be written.
    """
    if rows:
        with _replacing(file) as temporary:
            _write(temporary, header, rows)
    else:
        file.unlink(missing_ok=True)


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """Gives a file beside `file` to write to, which takes its place if nothing goes wrong."""
    temporary = file.with_name(f'.tmp-{os.getpid()}-{file.name}')
    try:
        yield temporary
        temporary.replace(file)
    except OSError as error:
        raise StorageError(f'{file}: cannot be written ({error})') from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _found(catalogue: Catalogue, located: Located, missing: int, out: Path) -> list[str]:
    total = len(catalogue.videos)
    lines = [f'{catalogue.title}: {total - missing:,} of {total:,} found'
             + (f'; {missing:,} missing, listed in {missing_file(out)}' if missing else '')]
    if len(catalogue.classes) != catalogue.official_classes:
        lines.append(f'note: {len(catalogue.classes)} classes, where {catalogue.title} as published has '
                     f'{catalogue.official_classes}')
    if located.unlisted:
        lines.append(f'{len(located.unlisted):,} videos that no list names were left out, such as '
                     f'{", ".join(map(quoted, located.unlisted[:_FEW]))}')
    if located.links:
        lines.append(f'{len(located.links):,} symbolic links were not followed, such as {quoted(located.links[0])}')
    for position, column in enumerate(catalogue.columns):
        if not column.startswith('split'):
            continue
        counts = Counter(video.values[position] for video, path in zip(catalogue.videos, located.paths, strict=True)
                         if path)
        lines.append(f'{column}: ' + ', '.join(f'{count:,} {part}' for part, count in sorted(counts.items())))
    present = len({video.class_name for video, path in zip(catalogue.videos, located.paths, strict=True) if path})
    lines.append(f'{out}: {total - missing:,} videos of {present} of {len(catalogue.classes)} classes')
    return lines
