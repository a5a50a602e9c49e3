"""Two ways of doing the same thing, compared over seeds: means, spread, and the paired difference.

Results are paired by seed. Two 95 % intervals of the mean difference are given, because they answer different
questions: over seeds (Student's t on the differences of the runs: would other seeds agree?), and over videos (normal,
on each video's difference averaged over the seeds: would other test videos agree?).
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from fedvssl.environment import describe_environment
from fedvssl.errors import DataListError

NORMAL_95 = 1.959964

# What the two runs of a seed must agree in: otherwise not the backbone alone makes the difference.
_SAME = ('config_hash', 'bad_videos')


@dataclass(frozen=True)
class Outcome:
    """What one run came to: a figure, and which test videos were right (0 or 1 each), or None where that is unknown."""

    value: float
    correct: Sequence[int] | None


@dataclass(frozen=True)
class Comparison:
    """Figures of two arms, by seed.

    Attributes:
        seeds: The seeds both arms have, ascending.
        first: Accuracy 0..1 (or another figure) of the first arm, per seed.
        second: That of the second arm, per seed.
        over_seeds: 95 % interval of the mean of first - second, over seeds; None with fewer than two.
        over_videos: The same over test videos; None if it is unknown which were right, or there are fewer than two.
        videos: Test videos; None if unknown.
    """

    seeds: list[int]
    first: list[float]
    second: list[float]
    over_seeds: tuple[float, float] | None
    over_videos: tuple[float, float] | None
    videos: int | None

    @property
    def differences(self) -> list[float]:
        """First - second, per seed."""
        return [a - b for a, b in zip(self.first, self.second, strict=True)]

    @property
    def difference(self) -> float:
        """Mean of first - second."""
        return statistics.fmean(self.first) - statistics.fmean(self.second)


def paired(first: Mapping[int, Outcome], second: Mapping[int, Outcome]) -> Comparison:
    """Compares outcomes by seed; seeds that only one arm has are left out.

    Args:
        first: Outcomes of the first arm by seed.
        second: Those of the second arm; the test videos must be the same, in the same order.

    Raises:
        DataListError: If no seed is in both, or the numbers of videos differ.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise DataListError(f'the arms have no seed in common: {sorted(first)} and {sorted(second)}')
    pairs = [(first[seed].correct, second[seed].correct) for seed in seeds]
    per_video = _per_video([(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None],
                           len(seeds))
    values = [first[seed].value for seed in seeds], [second[seed].value for seed in seeds]
    return Comparison(seeds, *values, _student([a - b for a, b in zip(*values, strict=True)]),
                      _normal(per_video), len(per_video) or None)


def _per_video(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], seeds: int) -> list[float]:
    """Returns each video's difference, averaged over the seeds; nothing unless every seed has both sides."""
    if len(pairs) < seeds:
        return []
    if len({len(side) for pair in pairs for side in pair}) != 1:
        raise DataListError('the arms were tested on different numbers of videos')
    by_seed = [[a - b for a, b in zip(ours, theirs, strict=True)] for ours, theirs in pairs]
    return [statistics.fmean(video) for video in zip(*by_seed, strict=True)]


def compare(first: Sequence[Path], second: Sequence[Path]) -> Comparison:
    """Compares two arms of fine-tuning runs.

    Args:
        first: Work directories with a ``result.json`` each, one per seed.
        second: Those of the other arm.

    Raises:
        DataListError: If a result is missing, or the arms do not share their seeds, configs and test videos.
    """
    ours, theirs = _by_seed(first), _by_seed(second)
    if ours.keys() != theirs.keys():
        raise DataListError(f'the arms have different seeds: {sorted(ours)} and {sorted(theirs)}')
    for seed in sorted(ours):
        for key in _SAME:
            if ours[seed][key] != theirs[seed][key]:
                raise DataListError(f'seed {seed}: the arms differ in {key}; only runs of one config on the same '
                                    f'videos can be compared')
    return paired(_outcomes(ours), _outcomes(theirs))


def _outcomes(results: Mapping[int, Mapping[str, Any]]) -> dict[int, Outcome]:
    return {seed: Outcome(result['top1'], result['correct']) for seed, result in results.items()}


def _by_seed(directories: Sequence[Path]) -> dict[int, dict[str, Any]]:
    results: dict[int, dict[str, Any]] = {}
    for directory in directories:
        try:
            result = json.loads((directory / 'result.json').read_text())
            seed, last = result['seed'], {key: result['last'][key] for key in ('top1', 'correct')}
            last |= {key: result[key] for key in _SAME}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataListError(f'{directory}: holds no usable result.json ({error})') from error
        if seed in results:
            raise DataListError(f'{directory}: a second result of seed {seed}; an arm has one run per seed')
        results[seed] = last
    return results


def _student(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def _normal(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    half = NORMAL_95 * statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def to_json(comparison: Comparison, first: str, second: str, pretext: Sequence[float] = ()) -> dict[str, Any]:
    """Returns the comparison as JSON values, with the environment that computed it."""
    return dict(**asdict(comparison), names=[first, second], difference=comparison.difference,
                pretext_accuracy=list(pretext), environment=describe_environment())


def to_markdown(comparison: Comparison, first: str, second: str, pretext: Sequence[float] = ()) -> str:
    """Returns the comparison as a Markdown table, in percent; `pretext` adds held-out pretext accuracies."""
    rows = ['| fine-tuned from | top-1, % | per seed |', '|---|---|---|',
            _row(first, comparison.first), _row(second, comparison.second)]
    rows.append(f'| difference | {100 * comparison.difference:+.1f} | '
                f'{", ".join(f"{100 * difference:+.1f}" for difference in comparison.differences)} |')
    notes = []
    if comparison.over_videos:
        notes.append(f'95 % interval of the difference over the {comparison.videos} test videos: '
                     f'{span(comparison.over_videos)}')
    if comparison.over_seeds:
        notes.append(f'over the {len(comparison.seeds)} seeds (Student): {span(comparison.over_seeds)}')
    if pretext:
        notes.append(f'pretext accuracy on held-out videos, %: {", ".join(f"{100 * value:.1f}" for value in pretext)}')
    return '\n'.join(rows) + '\n\n' + '; '.join(notes) + '.'


def _row(name: str, values: Sequence[float]) -> str:
    spread = f' ± {100 * statistics.stdev(values):.1f}' if len(values) > 1 else ''
    return (f'| {name} | {100 * statistics.fmean(values):.1f}{spread} | '
            f'{", ".join(f"{100 * value:.1f}" for value in values)} |')


def span(interval: tuple[float, float]) -> str:
    """Returns an interval of a difference of shares in words, in percentage points."""
    return f'{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f} points'
