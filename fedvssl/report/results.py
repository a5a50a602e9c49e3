"""The ``result.json`` of evaluations: found below directories, read and checked."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedvssl.errors import DataListError
from fedvssl.evaluation.result import RESULT_FILE

_SPLIT = re.compile(r'split[0-9]+')  # as `fedvssl.evaluation.splits` names the runs that it takes the mean of


@dataclass(frozen=True)
class Result:
    """One evaluation with one seed.

    Attributes:
        directory: Work directory.
        task: ``finetune``, ``linear``, ``knn`` or ``retrieval``.
        protocol: Its name, and every number that belongs to it.
        seed: Of the run.
        n: Test videos.
        measured: Figures by name; shares are 0..1.
        pretrained: Checkpoint it began with; None for random weights.
        values: All that the file holds.
    """

    directory: Path
    task: str
    protocol: Mapping[str, Any]
    seed: int
    n: int
    measured: Mapping[str, float]
    pretrained: str | None
    values: Mapping[str, Any]

    @property
    def kind(self) -> tuple[str, str]:
        """Task and name of the protocol: what may stand in the same column."""
        return self.task, str(self.protocol['name'])

    def detail(self, key: str) -> Any:
        """Returns a detail of the evaluation (of the last one, where the run evaluates more often), or None."""
        last = self.values.get('last')
        return self.values.get(key, last.get(key) if isinstance(last, Mapping) else None)

    def correct(self, name: str) -> list[int] | None:
        """Returns which test videos count as right (0 or 1 each) for a figure; None where the file does not say."""
        right = self.detail('correct')
        if isinstance(right, Mapping):
            right = right.get(name)
        elif name != 'top1':
            return None
        return right if isinstance(right, list) and len(right) == self.n else None


def find_results(run: Path) -> list[Path]:
    """Returns the work directories at or below `run` that hold a result, sorted.

    Hidden ones are left out, and single splits where their mean lies above them.

    Raises:
        DataListError: If there is none.
    """
    if (run / RESULT_FILE).is_file():
        return [run]
    found = sorted(file.parent for file in run.rglob(RESULT_FILE)
                   if not any(part.startswith('.') for part in file.relative_to(run).parts)
                   and not (_SPLIT.fullmatch(file.parent.name) and (file.parent.parent / RESULT_FILE).exists()))
    if not found:
        raise DataListError(f'{run}: neither it nor a directory below it holds a {RESULT_FILE}; name work directories '
                            f'of finetune.py or evaluate.py')
    return found


def read_result(directory: Path) -> Result:
    """Reads the result in a work directory.

    Raises:
        DataListError: If there is none, it is damaged, or older than protocols.
    """
    try:
        values = json.loads((directory / RESULT_FILE).read_text())
        if 'measured' not in values and 'last' in values:
            raise DataListError(f'{directory}: its {RESULT_FILE} is of a version that did not note the protocol; '
                                f'evaluate once more')
        result = Result(directory, str(values['task']), dict(values['protocol']), int(values['seed']),
                        int(values['n']), dict(_numbers(values['measured'])), values['pretrained'], values)
        _require(isinstance(result.protocol.get('name'), str), 'protocol has no name')
        _require(isinstance(values['config'], dict) and isinstance(values['lists'], dict), 'config or lists')
        _require(result.n >= 1 and bool(result.measured), 'nothing was measured')
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataListError(f'{directory}: holds no usable {RESULT_FILE} ({type(error).__name__}: {error})') from error
    return result


def _numbers(measured: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in measured.items():
        number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
        _require(number, f'measured.{name} is {value!r}, not a number')
        yield name, float(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
