"""What the official lists say: the videos by name, with class, label and splits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from fedvssl.data.list_files import quoted
from fedvssl.data.prepare.lists import ListFile, Problems
from fedvssl.errors import suggest


class Listed(NamedTuple):
    """A video of the lists.

    Attributes:
        name: Name of its file, without suffix.
        class_name: Its class.
        label: Number of the class, from 0.
        values: Values of the catalogue's further columns.
        official: What the list calls it.
    """

    name: str
    class_name: str
    label: int
    values: tuple[str, ...]
    official: str


@dataclass(frozen=True)
class Catalogue:
    """All videos of a data set.

    Attributes:
        title: Name of the data set.
        classes: Names of the classes; the label is the position.
        official_classes: How many classes the data set has as published.
        columns: Names of the further columns.
        split_column: The column that a config splits by.
        videos: The videos, in the order in which they are to be written.
        ignore_case: Whether names of files may differ from the lists in case.
    """

    title: str
    classes: Sequence[str]
    official_classes: int
    columns: Sequence[str]
    split_column: str
    videos: Sequence[Listed]
    ignore_case: bool = False


def in_order(names: Iterable[str]) -> list[str]:
    """Returns class names in the order of their labels.

    Sorted without regard to case: in ASCII order, UCF-101's HammerThrow would come before Hammering. This is the order
    of UCF-101's own class list and of mmaction2's label maps of all three data sets.
    """
    return sorted(set(names), key=lambda name: (name.casefold(), name))


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """Returns what two spellings of a class name have in common: blanks are underscores, and case does not count."""
    return ' '.join(name.replace('_', ' ').split()).casefold()


@dataclass
class ClassList:
    """The classes that a file declares, with the number that it gives to the first of them.

    Attributes:
        source: The file.
        names: The names, in the order of the file; the label is the position.
        base: Number of the first class, 0 or 1; None if the file has no numbers.
    """

    source: str
    names: list[str]
    base: int | None
    _labels: dict[str, int] = field(init=False)
    _unknown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._labels = {folded(name): label for label, name in enumerate(self.names)}

    def label(self, name: str) -> int | None:
        """Returns the label of a class; None if there is no such class."""
        return self._labels.get(folded(name))

    def unknown(self, name: str) -> str:
        """Returns the message about a name that is not in the list."""
        if name not in self._unknown:
            self._unknown[name] = f'class {quoted(name)} is not in {self.source}{suggest(name, self.names)}'
        return self._unknown[name]

    def number_fault(self, name: str, number: str) -> str | None:
        """Returns what is wrong with a number that a list gives to a class, if the class list has numbers."""
        if self.base is None:
            return None
        label = self._labels[folded(name)]
        if number == str(label + self.base):
            return None
        return (f'number {quoted(number)}, but class {quoted(name)} is number {label + self.base} in {self.source}; '
                'a list counts from the same number as the class list, from its first line to its last')


def read_classes(file: ListFile, problems: Problems) -> ClassList:
    """Reads a list of classes: ``number name`` on each line, or ``name``; the first line says which.

    Numbers must rise by one from that of the first line, which is 0 or 1.
    """
    lines = list(file.lines(problems))
    base = _numbered(lines[0][1])[0] if lines else None
    names: list[str] = []
    places: dict[str, str] = {}
    for position, (place, text) in enumerate(lines):
        number, name = (None, text) if base is None else _numbered(text)
        if base is not None and (base > 1 or number != base + position):
            found = 'no class number' if number is None else f'class number {number}'
            problems.add(place, f'{found} where {min(base, 1) + position} was expected; classes are numbered from 0 or '
                                '1, in order')
        if folded(name) in places:
            problems.add(place, f'class {quoted(name)} is already on {places[folded(name)]}')
        places[folded(name)] = place
        names.append(name)
    return ClassList(file.name, names, base)


def _numbered(text: str) -> tuple[int | None, str]:
    number, _, name = text.partition(' ') if ' ' in text else text.partition('\t')
    return (int(number), name.strip()) if number.isascii() and number.isdigit() and name.strip() else (None, text)
