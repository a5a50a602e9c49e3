"""A list to be split: names and labels as published; labels are checked against the classes that names begin with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedvssl.data.annotations import UNLABELLED, Video, read_annotations
from fedvssl.data.list_files import Faults
from fedvssl.data.partition import Partition
from fedvssl.errors import DataListError


@dataclass(frozen=True)
class NamedList:
    """The videos of a list.

    Attributes:
        file: The list.
        names: Their names (n,), distinct, e.g. ``class_name/youtubeid_000009_000019``.
        labels: Their labels (n,), as the file counts them.
        label_base: The number that the file gives to its first class.
    """

    file: Path
    names: list[str]
    labels: np.ndarray
    label_base: int

    @property
    def classes(self) -> np.ndarray:
        """The labels, counted from 0 (n,)."""
        return self.labels - self.label_base

    def entries(self, parts: Partition, without_class: bool = False) -> list[list[dict[str, str | int]]]:
        """Returns what the list files of the clients hold.

        Args:
            parts: Positions in the list, per client.
            without_class: Whether to keep only what follows the slash of a name.

        Raises:
            DataListError: If that leaves two videos with the same name.
        """
        names = [name.rpartition('/')[2] for name in self.names] if without_class else self.names
        if len(set(names)) < len(names):
            name = next(name for name, times in Counter(names).items() if times > 1)
            raise DataListError(f'{self.file}: {name!r} is the name of several videos without their class; '
                                f'keep the classes')
        labels = self.labels.tolist()
        return [[dict(name=names[index], label=labels[index]) for index in part.tolist()] for part in parts]


def read_named_list(file: Path | str, label_base: int = 1) -> NamedList:
    """Reads a list of names and labels.

    Args:
        file: ``.txt`` with ``name label`` lines, ``.json`` as published, or ``.csv`` with ``path`` and ``label``.
        label_base: The number of the first class: 1 in the published lists. A label below it is an error.

    Raises:
        DataListError: If the list or a line of it is wrong, if it has no labels, or if a class (what precedes the slash
            of a name) comes with several labels or a label with several classes.
    """
    file = Path(file)
    videos = read_annotations(file, file.parent, label_base=label_base)
    if videos[0].label == UNLABELLED:
        raise DataListError(f'{file}: has no labels; a split by class, and the published format, need them')
    labels = np.array([video.label for video in videos]) + label_base
    _check_classes(file, videos, labels.tolist())
    return NamedList(file, [video.path for video in videos], labels, label_base)


def _check_classes(file: Path, videos: Sequence[Video], labels: Sequence[int]) -> None:
    """Refuses rows whose label is not that of most rows of their class, or of most rows with their label."""
    classes = [video.path.rpartition('/')[0] for video in videos]
    pairs = Counter(pair for pair in zip(classes, labels, strict=True) if pair[0]).most_common()
    label_of = {name: label for (name, label), _ in reversed(pairs)}
    class_of = {label: name for (name, label), _ in reversed(pairs)}
    if len(pairs) == len(label_of) == len(class_of):
        return
    faults = Faults(file)
    for video, name, label in zip(videos, classes, labels, strict=True):
        if not name:
            continue
        if label_of[name] != label:
            faults.add(video.line, f'label {label} of a video of class {name!r}, whose other videos have label '
                                   f'{label_of[name]}; are labels counted from 0 and from 1 mixed?')
        elif class_of[label] != name:
            faults.add(video.line, f'label {label} is that of class {class_of[label]!r}, not of {name!r}')
    faults.raise_if_any()
