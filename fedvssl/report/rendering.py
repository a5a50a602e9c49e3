"""A comparison table as Markdown and as JSON values; LaTeX has a file of its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedvssl.environment import describe_environment
from fedvssl.report.columns import Column
from fedvssl.report.results import Result
from fedvssl.report.table import Cell, Difference, Table

INTERVALS_NOTE = ('intervals are 95 %, paired by seed: over seeds (Student) for what other seeds would give, over test '
                  'videos (normal) for what other videos would give; none is corrected for the number of comparisons')
WARNING = 'the runs of a column differ in more than their arm; do not compare them'


def markdown(table: Table, bold: bool = False) -> str:
    """Returns the table as Markdown: figures, differences, notes.

    Args:
        table: What to write.
        bold: Whether the highest mean of each column is set in bold.
    """
    header = ['arm', 'seeds', *(column.title for column in table.columns)]
    rows = [[arm.name, seeds_of(table, arm.name),
             *(_emphasised(table, arm.name, column, bold) for column in table.columns)] for arm in table.arms]
    parts = [_grid(header, rows)]
    if table.differences:
        parts.append(_grid(difference_header(table), [difference_row(difference) for difference in table.differences]))
    if table.warnings:
        parts.append('\n'.join([f'**Warning**: {WARNING}:', '', *(f'- {line}' for line in table.warnings)]))
    parts.append('; '.join(notes(table, bold)) + '.')
    return '\n\n'.join(parts)


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(_plain(text) for text in line) + ' |' for line in lines)


def _plain(text: str) -> str:
    return text.replace('|', r'\|')


def _emphasised(table: Table, arm: str, column: Column, bold: bool) -> str:
    text = cell_text(table.cells.get((arm, column.key)), column)
    return f'**{text}**' if bold and is_best(table, arm, column) else text


def notes(table: Table, bold: bool) -> list[str]:
    """Returns all that stands below a table, each without a full stop."""
    lines = list(table.notes)
    if table.differences:
        lines.append(INTERVALS_NOTE)
    if bold:
        lines.append('bold: highest mean, which need not be a difference')
    return lines


def is_best(table: Table, arm: str, column: Column) -> bool:
    """Returns whether an arm has the highest mean of a column."""
    cell = table.cells.get((arm, column.key))
    return cell is not None and cell.mean == table.best(column)


def cell_text(cell: Cell | None, column: Column) -> str:
    """Returns mean ± sd, in percent with one decimal for shares; ``-`` where nothing was measured."""
    if cell is None:
        return '-'
    spread = f' ± {number(cell.sd, column)}' if cell.sd is not None else ''
    return number(cell.mean, column) + spread


def number(value: float, column: Column, sign: str = '') -> str:
    """Returns a figure as it is printed; `sign` is ``+`` to have one before it in any case."""
    return f'{100 * value:{sign}.1f}' if column.share else f'{value:{sign}.4g}'


def seeds_of(table: Table, arm: str) -> str:
    """Returns how many seeds an arm's figures rest on, e.g. ``3`` or ``2-3``."""
    counts = sorted({len(cell.values) for (name, _), cell in table.cells.items() if name == arm})
    return '-'.join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def difference_header(table: Table) -> list[str]:
    """Returns the headings of the differences."""
    return [f'minus {table.reference}', 'figure', 'seeds', 'difference, points', 'over seeds', 'over test videos']


def difference_row(difference: Difference) -> list[str]:
    """Returns one difference in words."""
    found, column = difference.comparison, difference.column
    return [difference.arm, column.title.removesuffix(', %'), str(len(found.seeds)),
            number(found.difference, column, '+'), _interval(found.over_seeds, column),
            _interval(found.over_videos, column)]


def _interval(interval: tuple[float, float] | None, column: Column) -> str:
    return ' to '.join(number(end, column, '+') for end in interval) if interval else '-'


def figures(table: Table) -> dict[str, Any]:
    """Returns all figures as JSON values: per seed, with protocols, environments and what computed the table.

    Paths of work directories and checkpoints are left out: their names and digests tell as much to whoever reads the
    file elsewhere.
    """
    environments: list[dict[str, Any]] = []
    arms = [dict(name=arm.name, figures=dict(_cells(table, arm.name)),
                 runs=[_run(result, environments) for result in arm.runs]) for arm in table.arms]
    columns = [dict(key=column.key, task=column.kind[0], protocol=column.kind[1], name=column.name, title=column.title,
                    share=column.share) for column in table.columns]
    protocols = {'/'.join(result.kind): dict(result.protocol) for arm in table.arms for result in arm.runs}
    return dict(arms=arms, columns=columns, protocols=protocols, reference=table.reference,
                differences=list(map(_difference, table.differences)), notes=list(table.notes),
                warnings=list(table.warnings), environments=environments, environment=describe_environment())


def _cells(table: Table, arm: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for column in table.columns:
        cell = table.cells.get((arm, column.key))
        if cell is not None:
            yield column.key, dict(mean=cell.mean, sd=cell.sd, seeds=list(cell.values),
                                   values=list(cell.values.values()))


def _run(result: Result, environments: list[dict[str, Any]]) -> dict[str, Any]:
    environment: dict[str, Any] = result.values.get('environment', {})
    if environment not in environments:
        environments.append(environment)
    values, checkpoint = result.values, result.pretrained
    return dict(
        run=result.directory.resolve().name, task=result.task, protocol=result.protocol['name'], seed=result.seed,
        n=result.n, measured=dict(result.measured), intervals=values.get('intervals'),
        config_hash=values.get('config_hash'), lists=values['lists'], seconds=values.get('seconds'),
        reproducible=values.get('reproducible'), pretrained=None if checkpoint is None else Path(checkpoint).name,
        pretrained_sha256=values.get('pretrained_sha256'), environment=environments.index(environment))


def _difference(difference: Difference) -> dict[str, Any]:
    found = difference.comparison
    return dict(arm=difference.arm, column=difference.column.key, seeds=found.seeds, difference=found.difference,
                per_seed=found.differences, over_seeds=found.over_seeds, over_videos=found.over_videos,
                videos=found.videos)
