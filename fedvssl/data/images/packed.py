"""Images from one file of pictures laid end to end, and a CSV list that says where each begins."""

import csv
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvssl.data.images.arrays import ImageArrays
from fedvssl.data.images.pictures import decode
from fedvssl.data.images.reader import ImageReader
from fedvssl.data.list_files import INTEGER, Faults, decoded_lines, quoted
from fedvssl.errors import DataListError
from fedvssl.registry import IMAGES

COLUMNS = ('split', 'label', 'class', 'file', 'offset', 'length')
MAX_BYTES = 1 << 32  # unpacked


@dataclass(frozen=True, slots=True)
class _Entry:
    split: str
    label: int
    name: str
    file: str
    offset: int
    length: int


@IMAGES.register_module()
class PackedImages(ImageReader):
    """Reads the packed file; both files may be compressed with xz.

    Args:
        data: The pictures, JPEG or PNG, relative to the data root.
        index: The list, CSV with the columns ``split,label,class,file,offset,length``, relative to the data root.
        train_images: See `ImageReader`.
        test_images: See `ImageReader`.
    """

    def __init__(self, data: str = 'cifar10_jpeg.dat.xz', index: str = 'index.csv.xz', train_images: int | None = None,
                 test_images: int | None = None) -> None:
        super().__init__(train_images, test_images)
        self.data, self.index = data, index

    def files(self, root: Path) -> list[Path]:
        """Returns both files."""
        files = [Path(root) / self.data, Path(root) / self.index]
        for file in files:
            if not file.is_file():
                raise DataListError(f'{file}: no such file; check data.root, data.images.data and data.images.index')
        return files

    def _read(self, root: Path, split: str) -> ImageArrays:
        data, index = self.files(root)
        entries = _read_index(index)
        classes = _class_names(entries, index)
        own = [entry for entry in entries if entry.split == split]
        if not own:
            raise DataListError(f'{index}: no rows with split {split!r}; there are '
                                f'{", ".join(sorted({quoted(entry.split) for entry in entries}))}')
        labels = np.array([entry.label for entry in own], np.int64)
        rows = self._rows(labels, len(classes), split, index)
        chosen = [own[row] for row in rows]
        pixels = _pictures(_unpacked(data, max(entry.offset + entry.length for entry in chosen)), chosen, data)
        return ImageArrays(pixels, labels[rows], classes, tuple(f'{entry.name}/{entry.file}' for entry in chosen), data)


def _unpacked(file: Path, count: int = MAX_BYTES) -> bytes:
    """Returns the first `count` bytes of a file, or all if it has fewer, decompressed if it ends in ``.xz``."""
    try:
        with lzma.open(file) if file.suffix == '.xz' else file.open('rb') as stream:
            return stream.read(count)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise DataListError(f'{file}: cannot be read, or is damaged ({type(error).__name__}: {error})') from error


def _read_index(file: Path) -> list[_Entry]:
    faults = Faults(file)
    lines = decoded_lines(_unpacked(file))
    line, header, _ = next(lines, (1, '', ''))
    if tuple(header.split(',')) != COLUMNS:
        raise DataListError(f'{file}:{line}: the header is {quoted(header)} instead of {",".join(COLUMNS)!r}')
    entries = []
    for line, text, fault in lines:
        try:
            if fault:
                raise ValueError(fault)
            entries.append(_entry(text))
        except (ValueError, csv.Error) as error:
            faults.add(line, str(error))
    faults.raise_if_any()
    return entries


def _entry(text: str) -> _Entry:
    values = next(csv.reader([text], strict=True))
    if len(values) != len(COLUMNS):
        raise ValueError(f'{len(values)} fields instead of {len(COLUMNS)}')
    split, label, name, file, offset, length = values
    for column, value, least in (('label', label, 0), ('offset', offset, 0), ('length', length, 1)):
        if not INTEGER.fullmatch(value) or not least <= int(value) < MAX_BYTES:
            raise ValueError(f'{column} is an integer, {least} or more and below {MAX_BYTES}, not {quoted(value)}')
    if int(offset) + int(length) > MAX_BYTES:
        raise ValueError(f'ends beyond the {MAX_BYTES} bytes that are read')
    return _Entry(split, int(label), name, file, int(offset), int(length))


def _class_names(entries: list[_Entry], file: Path) -> tuple[str, ...]:
    """Returns the names of the classes, over all splits; each label must have one, and each name one label."""
    pairs = sorted({(entry.label, entry.name) for entry in entries})
    labels, names = [label for label, _ in pairs], [name for _, name in pairs]
    if labels != list(range(len(pairs))) or len(set(names)) < len(names) or not pairs:
        shown = ', '.join(f'{label}={name}' for label, name in pairs[:20])
        raise DataListError(f'{file}: labels must be 0, 1, ..., each with a class name of its own, not '
                            f'{shown or "none"}')
    return tuple(names)


def _pictures(content: bytes, entries: list[_Entry], file: Path) -> np.ndarray:
    """Returns the decoded pictures (n, H, W, 3), all as large as the first."""
    pictures: list[np.ndarray] = []
    for entry in entries:
        named = f'{file}: {entry.split} {entry.name}/{entry.file} at byte {entry.offset}'
        if entry.offset + entry.length > len(content):
            raise DataListError(f'{named}: ends after the file does; {len(content):,} bytes were unpacked')
        try:
            pictures.append(decode(content[entry.offset:entry.offset + entry.length]))
        except ValueError as error:
            raise DataListError(f'{named}: {error}') from error
        if pictures[-1].shape != pictures[0].shape:
            raise DataListError(f'{named}: has shape {pictures[-1].shape}, the first one {pictures[0].shape}; the '
                                f'pictures of a set must be equally large')
    return np.stack(pictures)
