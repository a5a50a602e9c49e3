"""The table of a comparison: one for each setting, made by `fedvssl.report.table` from what the jobs wrote.

A row is an arm; where clients train alone, the mean over them for each seed. What is not done yet is missing and said
to be, so the table can be made at any time.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fedvssl.compare.comparison import Comparison, Evaluation
from fedvssl.compare.jobs import Job
from fedvssl.compare.plan import Plan
from fedvssl.errors import DataListError
from fedvssl.report.arms import Arm, Kind
from fedvssl.report.columns import Column
from fedvssl.report.pretext import held_out
from fedvssl.report.rendering import figures, markdown
from fedvssl.report.results import Result, read_result
from fedvssl.report.table import build_table


def tables(comparison: Comparison, plan: Plan) -> tuple[str, dict[str, Any]]:
    """Returns the tables of a comparison as Markdown and as JSON values.

    Raises:
        DataListError: If results that are to stand in one column must not be compared.
    """
    parts, values = [], {}
    for setting in comparison.settings:
        jobs = [job for job in plan.jobs if job.setting == setting]
        arms = [arm for arm in (_arm(comparison, name.name, jobs) for name in comparison.arms) if arm.results]
        title = [f'### {setting}'] if setting else []
        pretext = dict(_pretext(jobs))
        if not arms:
            parts += [*title, 'Nothing is measured yet.']
            continue
        there = len(arms) > 1 and any(arm.name == comparison.reference for arm in arms)
        table = build_table(arms, comparison.reference if there else None)
        table = replace(table, columns=sorted(table.columns, key=partial(_place, comparison)))
        parts += [*title, markdown(table), *_pretext_lines(pretext)]
        values[setting] = dict(**figures(table), pretext=pretext)
    notes = _notes(plan)
    return '\n\n'.join([*parts, *notes]), dict(settings=values, notes=notes)


def _arm(comparison: Comparison, name: str, jobs: Sequence[Job]) -> Arm:
    """Returns what is there of an arm."""
    results: dict[Kind, dict[int, Result]] = {}
    for evaluation in comparison.evaluations:
        for seed in comparison.seeds:
            own = [job for job in jobs if (job.arm, job.seed, job.stage) == (name, seed, evaluation.title)
                   and job.is_evaluation]
            if own and all(job.is_done() for job in own):
                result = _mean([_shown(read_result(job.work_dir), evaluation) for job in own])
                results.setdefault(result.kind, {})[seed] = result
    return Arm(name, results)


def _place(comparison: Comparison, column: Column) -> int:
    """Returns which evaluation a column is of; several figures of one stay in their order."""
    return next(index for index, evaluation in enumerate(comparison.evaluations)
                if evaluation.task == column.kind[0] and evaluation.name in (None, column.kind[1]))


def _shown(result: Result, evaluation: Evaluation) -> Result:
    """Returns the figures of a result that are to be shown, under the evaluation's own name if it has one.

    Raises:
        DataListError: If it has no such figure.
    """
    missing = [name for name in evaluation.shown if name not in result.measured]
    if missing:
        raise DataListError(f'{result.directory}: did not measure {missing[0]!r}, which evaluation '
                            f'{evaluation.title!r} is to show; it has {", ".join(result.measured)}')
    protocol = dict(result.protocol, name=evaluation.name) if evaluation.name else result.protocol
    return replace(result, protocol=protocol, measured={name: result.measured[name] for name in evaluation.shown})


def _mean(results: Sequence[Result]) -> Result:
    """Returns several clients' results as one: the means of their figures; which videos were right is gone."""
    if len(results) == 1:
        return results[0]
    first = results[0]
    values = {key: value for key, value in first.values.items()
              if key not in ('correct', 'last', 'best', 'pretrained_sha256', 'intervals')}
    measured = {name: statistics.fmean(result.measured[name] for result in results) for name in first.measured}
    values |= dict(reproducible=all(result.values.get('reproducible', True) for result in results),
                   bad_videos={path: why for result in results
                               for path, why in result.values.get('bad_videos', {}).items()})
    return replace(first, measured=measured, values=values)


def _pretext(jobs: Sequence[Job]) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Yields, by arm, what its pretrainings measured last on held-out videos, one figure a run."""
    for arm in dict.fromkeys(job.arm for job in jobs):
        found: dict[str, list[float]] = {}
        for job in jobs:
            if job.arm == arm and not job.is_evaluation and job.is_done():
                for name, value in _held_out(job.work_dir).items():
                    found.setdefault(name, []).append(value)
        if found:
            yield arm, found


def _held_out(work_dir: Path) -> dict[str, float]:
    """Returns a run's accuracy or relative loss on held-out videos, as far as it measured any."""
    try:
        metrics = held_out(work_dir)['metrics']
    except DataListError:
        return {}
    return {name: metrics[name] for name in ('accuracy', 'relative_loss') if name in metrics}


def _pretext_lines(pretext: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    if not pretext:
        return
    rows = []
    for arm, found in pretext.items():
        for name, values in found.items():
            percent, unit = (100, ' %') if name == 'accuracy' else (1, '')
            shown = ', '.join(f'{percent * value:.3g}' for value in values)
            rows.append(f'{arm}: {name.replace("_", " ")} {shown}{unit}')
    yield 'Pretext task on the held-out videos, run by run: ' + '; '.join(rows) + '.'


def _notes(plan: Plan) -> list[str]:
    """Says what pretraining cost, and what is missing."""
    notes = []
    if plan.budgets:
        notes.append('Budget of pretraining, in epochs over the pooled videos: '
                     + '; '.join(map(str, plan.budgets.values())) + '.')
    missing = [job for job in plan.jobs if job.is_evaluation and not job.is_done()]
    if missing:
        notes.append(f'Not complete: {len(missing)} of {sum(job.is_evaluation for job in plan.jobs)} evaluations are '
                     f'not done, such as {missing[0].name}.')
    return notes
