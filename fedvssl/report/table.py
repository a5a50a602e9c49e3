"""The comparison table: a row for each arm, a column for each figure, means and spread over seeds.

    mean ± sd    sd with n - 1, over the runs of different seeds; nothing after ± where there is one run

What must not be compared does not get into one column (`fedvssl.report.columns`). Differences from a reference arm are
paired by seed, see `fedvssl.report.comparison`.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedvssl.errors import ConfigError, suggest
from fedvssl.report.arms import Arm
from fedvssl.report.columns import TASKS, Column, columns_of, require_comparable, what_differs
from fedvssl.report.comparison import Comparison, Outcome, paired
from fedvssl.report.results import Result


@dataclass(frozen=True)
class Cell:
    """Figures of one arm in one column, by seed."""

    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values.values())

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds, with n - 1; None with fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Difference:
    """How much an arm is above the reference in one column."""

    arm: str
    column: Column
    comparison: Comparison


@dataclass(frozen=True)
class Table:
    """All that a comparison table says; `markdown`, `latex` and `figures` write it.

    Attributes:
        arms: Rows.
        columns: Columns.
        cells: By name of the arm and key of the column; where nothing was measured there is none.
        reference: The arm that `differences` are from; None without.
        differences: By arm and column, where they have seeds in common.
        notes: What one has to know to read the figures.
        warnings: Why figures of a column should not be compared, if they should not.
    """

    arms: Sequence[Arm]
    columns: Sequence[Column]
    cells: Mapping[tuple[str, str], Cell]
    reference: str | None
    differences: Sequence[Difference]
    notes: Sequence[str]
    warnings: Sequence[str] = field(default=())

    def best(self, column: Column) -> float | None:
        """Returns the highest mean of a column of shares, None where more is not known to be better."""
        means = [self.cells[arm.name, column.key].mean for arm in self.arms if (arm.name, column.key) in self.cells]
        return max(means) if column.share and len(means) > 1 else None


def build_table(arms: Sequence[Arm], reference: str | None = None, mixed: bool = False,
                shown: Sequence[str] = ()) -> Table:
    """Makes the table.

    Args:
        arms: Rows, in their order.
        reference: Name of the arm that the others are compared with.
        mixed: Whether to put runs into one column that must not be compared, with a warning.
        shown: Names of the figures to show, e.g. ``top1``; all by default.

    Raises:
        DataListError: If protocols, lists or numbers of test videos of a column differ, unless `mixed`.
        ConfigError: If there is no arm `reference`, or no other, or nobody measured a figure.
    """
    if not mixed:
        require_comparable(arms)
    columns = _shown(columns_of(arms), shown)
    cells = {(arm.name, column.key): Cell(values) for arm in arms for column in columns
             if (values := column.values(arm))}
    differences = _differences(arms, columns, reference) if reference is not None else []
    return Table(arms, columns, cells, reference, differences, _notes(arms, columns), what_differs(arms))


def _shown(columns: list[Column], names: Sequence[str]) -> list[Column]:
    known = {column.name for column in columns}
    for name in names:
        if name not in known:
            raise ConfigError(f'--figures: nobody measured {name!r}{suggest(name, known)}')
    return [column for column in columns if column.name in names] if names else columns


def _differences(arms: Sequence[Arm], columns: Sequence[Column], reference: str) -> list[Difference]:
    by_name = {arm.name: arm for arm in arms}
    if reference not in by_name:
        raise ConfigError(f'--against: no arm {reference!r}{suggest(reference, by_name)}')
    if len(arms) < 2:
        raise ConfigError(f'--against: {reference!r} is the only arm; name another to compare with it')
    theirs = by_name[reference]
    return [Difference(arm.name, column, paired(_outcomes(arm, column, theirs), _outcomes(theirs, column, arm)))
            for arm in arms if arm is not theirs for column in columns
            if column.values(arm).keys() & column.values(theirs).keys()]


def _outcomes(arm: Arm, column: Column, other: Arm) -> dict[int, Outcome]:
    """Returns an arm's outcomes; which videos were right counts where both arms were tested on the same ones."""
    outcomes = {}
    for seed, value in column.values(arm).items():
        result, partner = arm.results[column.kind][seed], other.results[column.kind].get(seed)
        same = partner is not None and _tested(result) == _tested(partner)
        outcomes[seed] = Outcome(value, result.correct(column.name) if same else None)
    return outcomes


def _tested(result: Result) -> tuple[object, ...]:
    return result.n, result.values['lists'], result.values.get('bad_videos'), result.detail('target')


def _notes(arms: Sequence[Arm], columns: Sequence[Column]) -> list[str]:
    return [*_protocol_notes(arms), _seed_note(arms), *_gaps(arms, columns), *_checkpoint_notes(arms),
            *_reliability_notes(arms)]


def _protocol_notes(arms: Sequence[Arm]) -> list[str]:
    notes = []
    for kind in dict.fromkeys(kind for arm in arms for kind in arm.results):
        counts = sorted({result.n for arm in arms for result in arm.results.get(kind, {}).values()})
        notes.append(f'{TASKS.get(kind[0], kind[0])}: protocol {kind[1]}, {" or ".join(map(str, counts))} test videos')
    return notes


def _seed_note(arms: Sequence[Arm]) -> str:
    seeds = {tuple(by_seed) for arm in arms for by_seed in arm.results.values()}
    if len(seeds) > 1:
        each = '; '.join(f'{arm.name}: {_listed({result.seed for result in arm.runs})}' for arm in arms)
        return f'mean ± standard deviation over the seeds an arm has ({each})'
    [shared] = seeds
    if len(shared) == 1:
        return f'one run each, seed {shared[0]}: nothing is known of the spread'
    return f'mean ± standard deviation over seeds {_listed(shared)}'


def _gaps(arms: Sequence[Arm], columns: Sequence[Column]) -> list[str]:
    """Says where a figure rests on fewer runs than its arm has seeds."""
    gaps = []
    for arm in arms:
        total = len({result.seed for result in arm.runs})
        gaps += [f'{arm.name}, {column.title.removesuffix(", %")}: {len(values)} of {total} seeds' for column in columns
                 if 0 < len(values := column.values(arm)) < total]
    return gaps


def _checkpoint_notes(arms: Sequence[Arm]) -> list[str]:
    """Says where the spread leaves out pretraining, because all seeds begin with the same checkpoint."""
    notes = []
    for arm in arms:
        seeds, sources = {result.seed for result in arm.runs}, {_source(result) for result in arm.runs}
        if len(seeds) > 1 and len(sources) == 1 and None not in sources:
            notes.append(f'{arm.name}: all {len(seeds)} seeds begin with one checkpoint, so that its spread is not '
                         f'that of pretraining')
    return notes


def _source(result: Result) -> str | None:
    """Returns what tells the checkpoint that a run began with; None for random weights."""
    return None if result.pretrained is None else str(result.values.get('pretrained_sha256') or result.pretrained)


def _reliability_notes(arms: Sequence[Arm]) -> list[str]:
    runs = [result for arm in arms for result in arm.runs]
    unlike = sum(result.values.get('reproducible') is False for result in runs)
    bad = {path for result in runs for path in result.values.get('bad_videos') or ()}
    notes = [f'{len(bad)} unreadable video{"s" if len(bad) > 1 else ""} left out'] if bad else []
    if unlike:
        notes.append(f'{unlike} of {len(runs)} runs lost a video to a deadline, and may come out differently when '
                     f'repeated')
    return notes


def _listed(seeds: Sequence[int] | set[int]) -> str:
    return ', '.join(map(str, sorted(seeds)))
