"""CIFAR-10 and CIFAR-100 from their official Python archives, packed or unpacked.

A batch file is a pickle of Python 2: a dictionary with ``data``, uint8 (n, 3072), three planes of 32 x 32 a row; a list
of labels; and the images' names. It is read by `fedvssl.inert`, which executes nothing. No digest is asked for, so that
archives of any number of images can be made in the same form.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; cs.toronto.edu/~kriz/cifar.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl.data.images.archive import read_members
from fedvssl.data.images.arrays import ImageArrays
from fedvssl.data.images.reader import ImageReader
from fedvssl.errors import ConfigError, DataListError
from fedvssl.inert import pickles
from fedvssl.registry import IMAGES

SIDE = 32


@dataclass(frozen=True)
class _Layout:
    """What the files of one set are called.

    Attributes:
        archive: The archive, and the folder that it unpacks to.
        official_bytes: Size of the archive as it is published.
        splits: Batch files of each split.
        meta: File with the names of the classes.
    """

    archive: str
    folder: str
    official_bytes: int
    splits: dict[str, tuple[str, ...]]
    meta: str

    @property
    def batches(self) -> tuple[str, ...]:
        """All batch files."""
        return self.splits['train'] + self.splits['test']


_LAYOUTS = {
    10: _Layout('cifar-10-python.tar.gz', 'cifar-10-batches-py', 170_498_071,
                dict(train=tuple(f'data_batch_{number}' for number in range(1, 6)), test=('test_batch',)),
                'batches.meta'),
    100: _Layout('cifar-100-python.tar.gz', 'cifar-100-python', 169_001_437, dict(train=('train',), test=('test',)),
                 'meta'),
}
_COARSE_CLASSES = 20


@IMAGES.register_module()
class CIFAR(ImageReader):
    """Reads the archive, or the folder it unpacks to, in the data root; or the root is one of the two.

    Args:
        classes: 10 or 100: which of the two sets.
        coarse: Take the 20 superclasses of CIFAR-100.
        train_images: See `ImageReader`.
        test_images: See `ImageReader`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(self, classes: int = 10, coarse: bool = False, train_images: int | None = None,
                 test_images: int | None = None) -> None:
        super().__init__(train_images, test_images)
        if classes not in _LAYOUTS:
            raise ConfigError(f'CIFAR: classes is 10 or 100, not {classes!r}')
        if coarse and classes == 10:
            raise ConfigError('CIFAR: only CIFAR-100 has coarse labels; take classes=100, or coarse=False')
        self._layout = _LAYOUTS[classes]
        self._num_classes = _COARSE_CLASSES if coarse else classes
        kind = 'coarse_' if coarse else 'fine_' if classes == 100 else ''
        self._labels_key, self._classes_key = f'{kind}labels', f'{kind}label_names'

    def files(self, root: Path) -> list[Path]:
        """Returns the archive, or the batch files of the folder and the one with the classes' names."""
        place = self._find(Path(root))
        if place.is_file():
            return [place]
        files = (place / name for name in (*self._layout.batches, self._layout.meta))
        return [file for file in files if file.is_file()]

    def _find(self, root: Path) -> Path:
        """Returns the folder of the batch files; else the archive."""
        layout = self._layout
        if root.is_file() or any((root / name).is_file() for name in layout.batches):
            return root
        for place in (root / layout.folder, root / layout.archive):
            if place.exists():
                return place
        raise DataListError(f'{root}: holds neither {layout.archive} nor its folder {layout.folder}; put one of them '
                            f'there')

    def _read(self, root: Path, split: str) -> ImageArrays:
        place, batches = self._find(root), self._layout.splits[split]
        contents = self._contents(place, (*batches, self._layout.meta))
        missing = [name for name in batches if name not in contents]
        if missing:
            raise DataListError(f'{place}: lacks {", ".join(missing)}; unpack or download it again')
        parts = [_Batch.parse(contents[name], place / name, self._labels_key, self._num_classes) for name in batches]
        labels = np.concatenate([part.labels for part in parts])
        rows = self._rows(labels, self._num_classes, split, place)
        planes = np.concatenate([part.data for part in parts])[rows].reshape(-1, 3, SIDE, SIDE)
        names = [name for part in parts for name in part.names or ()]
        return ImageArrays(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels[rows],
                           self._classes(contents, place),
                           tuple(names[row] for row in rows) if len(names) == len(labels) else None, place)

    def _contents(self, place: Path, names: tuple[str, ...]) -> dict[str, bytes]:
        if place.is_file():
            return read_members(place, frozenset(names), self._layout.official_bytes)
        try:
            return {name: (place / name).read_bytes() for name in names if (place / name).is_file()}
        except OSError as error:
            raise DataListError(f'{place}: cannot be read ({error})') from error

    def _classes(self, contents: Mapping[str, bytes], place: Path) -> tuple[str, ...]:
        """Returns the names of the classes; none if there is no file with them."""
        if self._layout.meta not in contents:
            return ()
        file = place / self._layout.meta
        names = tuple(_texts(_dictionary(contents[self._layout.meta], file).get(self._classes_key)) or ())
        if len(names) != self._num_classes:
            raise DataListError(f'{file}: names {len(names)} classes under {self._classes_key!r} instead of '
                                f'{self._num_classes}')
        return names


@dataclass(frozen=True)
class _Batch:
    """One batch file: ``data`` uint8 (n, 3072), ``labels`` int64 (n,), ``names`` or None."""

    data: np.ndarray
    labels: np.ndarray
    names: list[str] | None

    @classmethod
    def parse(cls, content: bytes, file: Path, labels_key: str, num_classes: int) -> '_Batch':
        values = _dictionary(content, file)
        for key in ('data', labels_key):
            if key not in values:
                raise DataListError(f'{file}: has no {key!r}; there are {", ".join(sorted(values)) or "no keys"}')
        try:
            data, labels = pickles.array(values['data']), _numbers(values[labels_key])
        except (ValueError, OverflowError) as error:
            raise DataListError(f'{file}: is no batch of CIFAR: {error}') from error
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * SIDE * SIDE or len(data) != len(labels):
            raise DataListError(f'{file}: holds {data.dtype} {data.shape} and {len(labels)} labels instead of uint8 '
                                f'(n, {3 * SIDE * SIDE}) and n labels')
        if ((labels < 0) | (labels >= num_classes)).any():
            raise DataListError(f'{file}: has labels {labels.min()}..{labels.max()}; there are {num_classes} classes, '
                                f'counted from 0')
        return cls(data, labels, _texts(values.get('filenames')))


def _dictionary(content: bytes, file: Path) -> dict[str, Any]:
    """Returns what a pickle holds, its keys as text."""
    try:
        values = pickles.load(content, 'file of CIFAR', python2=True)
        if type(values) is not dict:
            raise ValueError(f'holds a value of type {type(values).__name__} instead of a dictionary')
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataListError(f'{file}: no file of CIFAR, or damaged; nothing in it was executed '
                            f'({type(error).__name__}: {str(error) or "no details"})') from error
    return {_text(key): value for key, value in values.items()}


def _numbers(value: object) -> np.ndarray:
    """Returns labels, a list or an array, as int64 (n,)."""
    if not isinstance(value, list):
        value = list(pickles.array(value).reshape(-1).tolist())
    if any(type(number) is not int for number in value):
        raise ValueError('labels are not integers')
    return np.array(value, np.int64)


def _texts(value: object) -> list[str] | None:
    return [_text(item) for item in value] if isinstance(value, list) else None


def _text(value: object) -> str:
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)
