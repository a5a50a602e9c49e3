"""Which figures may stand below each other: those of one task under one protocol on the same videos.

Protocols of different names have columns of their own. Under one name every number must agree, and so must the lists
and the number of test videos: otherwise the difference between two rows has causes that the table does not show.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedvssl.config import differences
from fedvssl.errors import DataListError
from fedvssl.report.arms import Arm, Kind
from fedvssl.report.results import Result

TASKS = dict(finetune='fine-tuned', linear='linear probe', knn='kNN', retrieval='retrieval')
"""Names of the tasks in print."""

_TITLES = ((re.compile(r'top(\d+)'), r'top-\1'), (re.compile(r'mean_class'), 'mean class'),
           (re.compile(r'knn(\d+)_top(\d+)'), r'\1-NN top-\2'), (re.compile(r'recall(\d+)'), r'R@\1'))


@dataclass(frozen=True)
class Column:
    """One figure of one task under one protocol.

    Attributes:
        kind: Task and name of the protocol.
        name: Of the figure, as in ``measured``.
        title: What stands above it.
        share: Whether it is a share, to be shown in percent, of which more is better.
    """

    kind: Kind
    name: str
    title: str
    share: bool

    @property
    def key(self) -> str:
        """What names it in JSON."""
        return '/'.join((*self.kind, self.name))

    def values(self, arm: Arm) -> dict[int, float]:
        """Returns an arm's figures by seed."""
        by_seed = arm.results.get(self.kind, {})
        return {seed: result.measured[self.name] for seed, result in by_seed.items() if self.name in result.measured}


def columns_of(arms: Sequence[Arm]) -> list[Column]:
    """Returns the columns for all that was measured, tasks in the order in which they are met."""
    kinds = list(dict.fromkeys(kind for arm in arms for kind in arm.results))
    columns = []
    for kind in kinds:
        names = dict.fromkeys(name for arm in arms for result in arm.results.get(kind, {}).values()
                              for name in result.measured)
        columns += [Column(kind, name, *_title(kind, name, kinds)) for name in sorted(names, key=order)]
    return columns


def order(name: str) -> tuple[int, list[int], str]:
    """Returns what to sort figures by: their kind, then their numbers; files hold them by the alphabet."""
    place = next((place for place, (pattern, _) in enumerate(_TITLES) if pattern.fullmatch(name)), len(_TITLES))
    return place, [int(digits) for digits in re.findall(r'\d+', name)], name


def _title(kind: Kind, name: str, kinds: Sequence[Kind]) -> tuple[str, bool]:
    """Returns the title, which says no more than it takes to tell the columns apart, and whether it is a share."""
    found = next(((pattern, text) for pattern, text in _TITLES if pattern.fullmatch(name)), None)
    title = found[0].sub(found[1], name) if found else name
    task, protocol = kind
    if sum(other == task for other, _ in kinds) > 1:
        title = f'{TASKS.get(task, task)} ({protocol}) {title}'
    elif len(kinds) > 1 and not name.startswith((task, 'recall')):
        title = f'{TASKS.get(task, task)} {title}'
    return title + (', %' if found else ''), bool(found)


def what_differs(arms: Sequence[Arm]) -> list[str]:
    """Returns a line for everything that makes runs of one column incomparable."""
    lines = []
    for kind in dict.fromkeys(kind for arm in arms for kind in arm.results):
        runs = [result for arm in arms for result in arm.results.get(kind, {}).values()]
        differing: dict[str, set[str]] = {}
        for run in runs[1:]:
            for line in differences(_basis(runs[0]), _basis(run)):
                key, _, values = line.partition(': ')
                differing.setdefault(key, set()).update(values.split(' -> ', 1))
        what = TASKS.get(kind[0], kind[0])
        lines += [f'{what}: {key}: {_listed(values)}' for key, values in differing.items()]
    return lines


def _basis(result: Result) -> dict[str, Any]:
    """Returns what must agree within a column."""
    data = result.values['config'].get('data') or {}
    test = (data.get('test') or {}).get('split')
    return dict(protocol=dict(result.protocol), lists=result.values['lists'], n=result.n, test_split=test)


def _listed(values: set[str]) -> str:
    # Digests of lists are told apart by their beginning.
    return ' or '.join(sorted(value[:13] + '..."' if re.fullmatch(r'"[0-9a-f]{64}"', value) else value
                              for value in values))


def require_comparable(arms: Sequence[Arm]) -> None:
    """Refuses runs that do not belong into one column.

    Raises:
        DataListError: Naming all that they differ in.
    """
    lines = what_differs(arms)
    if lines:
        raise DataListError('these runs must not stand in one column, because they differ in more than their arm:\n  '
                            + '\n  '.join(lines) + '\nmake a table of each kind, or take --mixed, which warns')
