"""Which runs are one thing done with several seeds: an arm, a row of a table.

An arm's name is where its runs lie: the path below the directory that was given, without the seed and without the task;
if that leaves nothing, the name of that directory, or of the nearest above it. With results of seed 7::

    given             the result is in               arm
    work/vcop-7       work/vcop-7                    vcop
    work/vcop-7       work/vcop-7/knn                vcop
    work/vcop-7/knn   work/vcop-7/knn                vcop
    work              work/vcop-7/knn                vcop
    work              work/7/vcop/linear-cached      vcop
    work              work/speed/fedavg-7            speed/fedavg
    work              work/vcop-07                   vcop-07, since 07 is not how the seed is written
    work              work/fedavg/seed-7/knn-1f3a90c4   fedavg, as `tools/compare.py` lays it out

A part of the path that is the seed goes, one that ends with ``-`` and the seed loses that; what then is the task, the
protocol, or both with ``-`` between, goes as well, with the digest that `tools/compare.py` adds. If that does not say
it, name the arms: ``--arm NAME DIR ...``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedvssl.config import differences
from fedvssl.errors import ConfigError, DataListError
from fedvssl.report.results import Result, find_results, read_result

_JOB = re.compile(r'-[0-9a-f]{8}$')  # what ends the name of a comparison's job

Kind = tuple[str, str]  # task and protocol's name

# A seed's run may lie on another machine; what the lists say is compared by their digests.
_FREE = ('seed', 'data.root')


@dataclass(frozen=True)
class Arm:
    """One row of a table.

    Attributes:
        name: What it is called.
        results: By task and protocol, then by seed, both ascending.
    """

    name: str
    results: Mapping[Kind, Mapping[int, Result]]

    @property
    def runs(self) -> list[Result]:
        """All results of the arm."""
        return [result for by_seed in self.results.values() for result in by_seed.values()]


def named_arms(arguments: Sequence[Sequence[str]]) -> dict[str, list[Path]]:
    """Understands ``--arm NAME DIR ...``, each given as its words.

    Raises:
        ConfigError: If one has no directory, or a name comes twice.
    """
    named: dict[str, list[Path]] = {}
    for name, *directories in arguments:
        if not directories:
            raise ConfigError(f'--arm {name}: names no work directory; write --arm NAME DIR ...')
        if name in named:
            raise ConfigError(f'--arm {name}: is there twice; name all of its work directories at once')
        named[name] = list(map(Path, directories))
    return named


def gather(runs: Sequence[Path], named: Mapping[str, Sequence[Path]]) -> list[Arm]:
    """Reads results and groups them.

    Args:
        runs: Directories that hold results, or below which some lie; they name their arms.
        named: Further ones, by the name of the arm. These come first.

    Returns:
        The arms in the order in which they are met.

    Raises:
        DataListError: If a result is missing or unusable, or the runs of an arm are not one thing done with several
            seeds.
    """
    groups: dict[str, list[Result]] = {}
    for name, directories in named.items():
        for run in directories:
            groups.setdefault(name, []).extend(map(read_result, find_results(run)))
    for run in runs:
        for directory in find_results(run):
            result = read_result(directory)
            groups.setdefault(arm_name(run, result), []).append(result)
    if not groups:
        raise DataListError('no runs were given; name work directories, or --arm NAME DIR ...')
    return [_arm(name, results) for name, results in groups.items()]


def arm_name(run: Path, result: Result) -> str:
    """Returns the name of the arm that a result belongs to, see the module.

    Args:
        run: The directory that was given.
        result: A result at or below it.
    """
    below = [name for part in result.directory.relative_to(run).parts if (name := _said(part, result))]
    return '/'.join(below) or next(name for part in reversed(run.resolve().parts) if (name := _said(part, result)))


def _said(part: str, result: Result) -> str:
    """Returns what a part of a path says of a result's arm; nothing where it is the seed or the task."""
    name = '' if part in (str(result.seed), f'seed-{result.seed}') else part.removesuffix(f'-{result.seed}')
    return '' if _JOB.sub('', name) in (*result.kind, '-'.join(result.kind)) else name


def _arm(name: str, results: Sequence[Result]) -> Arm:
    grouped: dict[Kind, dict[int, Result]] = {}
    for result in sorted(results, key=lambda result: (result.kind, result.seed)):
        by_seed = grouped.setdefault(result.kind, {})
        first = by_seed.setdefault(result.seed, result)
        if first is not result:
            raise DataListError(f'arm {name!r}: {first.directory} and {result.directory} are both {result.task} with '
                                f'seed {result.seed}; an arm has one run per seed, name them apart with '
                                f'--arm NAME DIR ...')
    for by_seed in grouped.values():
        first, *others = by_seed.values()
        for other in others:
            _require_alike(name, first, other)
    return Arm(name, grouped)


def _require_alike(name: str, first: Result, other: Result) -> None:
    """Checks that two runs of an arm differ in nothing but their seed."""
    if (first.pretrained is None) != (other.pretrained is None):
        raise DataListError(f'arm {name!r}: of {first.directory} and {other.directory}, one begins with a checkpoint '
                            f'and one with random weights')
    lines = [line for line in differences(first.values['config'], other.values['config'])
             if line.partition(':')[0] not in _FREE]
    if lines:
        raise DataListError(f'arm {name!r}: the configs of {first.directory} and {other.directory} differ in more than '
                            f'the seed; name them apart with --arm NAME DIR ...\n  ' + '\n  '.join(lines))
