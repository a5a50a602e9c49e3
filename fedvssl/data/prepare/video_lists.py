"""Lists of the prepared videos: those of the sources with other names, or one that is made of the directories.

A list keeps its format, columns, labels and place, so that a config needs another ``data.root`` and nothing else. Rows
of videos that could not be prepared are left out.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from fedvssl.commit import write_file
from fedvssl.data.annotations import read_annotations
from fedvssl.data.list_files import INTEGER, Faults, read_table
from fedvssl.data.prepare.catalogue import in_order
from fedvssl.data.prepare.table import write_list
from fedvssl.errors import ConfigError

DEFAULT = 'annotations.csv'


class VideoList:
    """An annotation list of the sources.

    Args:
        file: The list, of any kind that `read_annotations` reads.
        root: Directory of the sources.
        extension: Appended to every path of the list, as ``data.extension`` is.

    Attributes:
        file: The list.
        names: The videos, in its order.
        extension: As given.
        place: Where its like goes, relative to the directory of prepared videos.

    Raises:
        DataListError: If the list is wrong.
    """

    def __init__(self, file: Path, root: Path, extension: str = '') -> None:
        self.file = file
        # Of class names and of numbers that begin with 1, too: labels are copied, not understood.
        self.names = [video.path for video in read_annotations(file, root, extension=extension)]
        self._table = read_table(file, Faults(file))
        inside = file.resolve().is_relative_to(root.resolve())
        self.place = file.resolve().relative_to(root.resolve()) if inside else Path(file.name)
        self.extension = extension

    def write(self, out: Path, targets: Mapping[str, str], suffix: str) -> list[str]:
        """Writes the list of the prepared videos.

        Args:
            out: Their directory.
            targets: By name, what each video is called that could be prepared.
            suffix: Of the prepared videos; left out again where the list leaves it out.

        Returns:
            What there is to say about it.

        Raises:
            StorageError: If it cannot be written.
        """
        file = out / self.place
        drop = len(suffix) if self.extension else 0
        kept = [(row, targets[name][:len(targets[name]) - drop])
                for row, name in zip(self._table.rows, self.names, strict=True) if name in targets]
        if not kept:
            return [f'{file}: not written, none of its {len(self.names):,} videos could be prepared']
        kind = file.suffix.lower()
        if kind == '.json':
            entries = json.loads(self.file.read_bytes().removeprefix(b'\xef\xbb\xbf'))
            chosen = [(entries[row.line - 1], path) for row, path in kept]
            renamed = [entry | {'path' if 'path' in entry else 'name': path} for entry, path in chosen]
            write_file(file, (json.dumps(renamed, indent=1) + '\n').encode())
        elif kind == '.txt':
            lines = [' '.join([path, *([row.label] if row.label is not None else [])]) for row, path in kept]
            write_file(file, ('\n'.join(lines) + '\n').encode())
        else:
            labelled = kept[0][0].label is not None
            header = ['path', *(['label'] if labelled else []), *self._table.columns]
            rows = [[path, *([row.label or ''] if labelled else []), *row.columns.values()] for row, path in kept]
            write_list(file, out, header, rows, own=True)
        left_out = len(self.names) - len(kept)
        return [f'{file}: {len(kept):,} videos' + (f', {left_out:,} left out' if left_out else ''),
                *self._lost_classes({row.line for row, _ in kept})]

    def _lost_classes(self, lines: set[int]) -> list[str]:
        """Says so if a class has no videos any more whose name decided about the numbers of others."""
        names = {row.label for row in self._table.rows if row.label is not None and not INTEGER.fullmatch(row.label)}
        lost = sorted(names - {row.label for row in self._table.rows if row.line in lines}, key=str)
        return [f'note: no video of class {lost[0]!r} could be prepared ({len(lost)} such classes); class names are '
                'numbered in sorted order, so that the labels of others have changed'] if lost else []


def write_list_of_directories(names: Sequence[str], targets: Mapping[str, str], out: Path) -> list[str]:
    """Writes a list of prepared videos; if each lies in a directory and no deeper, that is its class.

    Args:
        names: All videos, prepared or not: they decide about the numbers of the classes.
        targets: By name, what each video is called that could be prepared.
        out: Directory of the prepared videos.

    Returns:
        What there is to say about it.

    Raises:
        StorageError: If it cannot be written.
    """
    file = out / DEFAULT
    folders = {name: PurePosixPath(name).parts[:-1] for name in names}
    if any(len(parts) != 1 for parts in folders.values()):
        write_list(file, out, ['path'], [[targets[name]] for name in names if name in targets], own=True)
        return [f'{file}: {len(targets):,} videos, no labels (not each lies in the directory of a class)']
    classes = in_order(parts[0] for parts in folders.values())
    labels = {name: label for label, name in enumerate(classes)}
    write_list(file, out, ['path', 'label', 'class'],
               [[targets[name], labels[folders[name][0]], folders[name][0]] for name in names if name in targets],
               own=True)
    return [f'{file}: {len(targets):,} videos, {len(classes):,} classes']


def find_lists(given: Sequence[Path], root: Path, extension: str) -> list[VideoList]:
    """Reads the lists of the sources.

    Args:
        given: Files, as they are or below `root`; none for ``annotations.csv`` there, if there is one.
        root: Directory of the sources.
        extension: See `VideoList`.

    Raises:
        DataListError: If a list is wrong.
        ConfigError: If the prepared ones would have the same place.
    """
    default = root / DEFAULT
    files = [file if file.exists() or not (root / file).exists() else root / file for file in given]
    lists = [VideoList(file, root, extension) for file in files or ([default] if default.is_file() else [])]
    places = [each.place for each in lists]
    for each in lists:
        if places.count(each.place) > 1:
            raise ConfigError(f'--annotations {each.file}: two lists would become {each.place}; rename one of them')
    return lists
