"""A job of a comparison: one run of one tool in a work directory of its own, and whether it is done.

    work_dir/hard/fedavg/seed-7/pretraining-1f3a90c4/     a pretraining
    work_dir/hard/fedavg/seed-7/finetune-90ab3c11/        an evaluation of it
    work_dir/hard/fedavg/seed-7/finetune-90ab3c11.log     what the tool said
    work_dir/hard/fedavg/seed-7/finetune-90ab3c11.json    how long it took, and its last exit code

The directories are the state: there is no other. Their names end with a digest of all that decides the result (config,
lists, what it starts from), so that whatever changes gets new jobs, and what does not stays done.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fedvssl.commit import latest_commit, write_json
from fedvssl.errors import CheckpointError
from fedvssl.evaluation.result import RESULT_FILE
from fedvssl.state import CONFIG_FILE, STATE_FILE
from fedvssl.weights import ROUND_PREFIX, ROUNDS_DIR

DIGITS = 8  # of a digest in a directory's name
TAIL = 12  # lines of a log in a message

Facts = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Job:
    """One run of one tool.

    Attributes:
        setting: Name of the setting it belongs to.
        arm: Name of the arm.
        seed: Of the run.
        stage: ``'pretraining'``, or title of the evaluation.
        tool: File name of the tool.
        arguments: What it gets, but for ``--work-dir`` and ``--resume``.
        work_dir: Where it works.
        expected: What its result must say for the job to be done: for a pretraining ``config_hash`` and ``round``, for
            an evaluation ``config_hash`` (any of several), ``lists``, ``seed`` and ``task``.
        resumable: Whether the tool continues what it began.
        needs: The pretraining that it evaluates.
        client: The client that trains alone.
    """

    setting: str
    arm: str
    seed: int
    stage: str
    tool: str
    arguments: Sequence[str]
    work_dir: Path
    expected: Facts
    resumable: bool = True
    needs: 'Job | None' = None
    client: int | None = None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        client = [] if self.client is None else [f'client {self.client}']
        return ' / '.join([part for part in (self.setting, self.arm) if part] + [f'seed {self.seed}', *client,
                                                                                self.stage])

    @property
    def is_evaluation(self) -> bool:
        """Whether it measures a backbone, rather than making one."""
        return 'task' in self.expected

    @property
    def log(self) -> Path:
        """What the tool said, all attempts together."""
        return self.work_dir.with_name(f'{self.work_dir.name}.log')

    @property
    def record(self) -> Path:
        """What is known of its attempts."""
        return self.work_dir.with_name(f'{self.work_dir.name}.json')

    @property
    def begun(self) -> bool:
        """Whether there is a run that the tool would continue."""
        return (self.work_dir / CONFIG_FILE).is_file()

    def is_done(self) -> bool:
        """Returns whether its result is there, sound, and of this config."""
        found = _result(self.work_dir) if self.is_evaluation else _pretrained(self.work_dir)
        return found is not None and all(_agrees(found.get(key), wanted) for key, wanted in self.expected.items())

    def note(self, seconds: float, exit_code: int) -> None:
        """Adds an attempt to the record.

        Raises:
            StorageError: If it cannot be written.
        """
        before = self.history()
        write_json(self.record, dict(seconds=before['seconds'] + seconds, attempts=before['attempts'] + 1,
                                     exit_code=exit_code, tool=self.tool, arguments=list(self.arguments)))

    def history(self) -> dict[str, Any]:
        """Returns ``seconds`` and ``attempts`` so far and the last ``exit_code``; None before the first."""
        try:
            values = json.loads(self.record.read_text())
            return {key: values[key] for key in ('seconds', 'attempts', 'exit_code')}
        except (OSError, ValueError, KeyError, TypeError):  # only a help for estimates
            return dict(seconds=0.0, attempts=0, exit_code=None)

    def tail(self) -> str:
        """Returns the end of its log."""
        try:
            lines = self.log.read_text(errors='replace').splitlines()
        except OSError:
            return '(no log)'
        return '\n'.join(lines[-TAIL:]) or '(nothing)'


def digest(*parts: Any) -> str:
    """Returns the first digits of the SHA-256 of JSON values."""
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _agrees(found: Any, wanted: Any) -> bool:
    return found in wanted if isinstance(wanted, frozenset) else found == wanted


def _pretrained(work_dir: Path) -> Facts | None:
    """Returns round and config hash of the newest sound round; None if there is none."""
    try:
        latest = latest_commit(work_dir / ROUNDS_DIR, ROUND_PREFIX)
        if latest is None:
            return None
        state = json.loads(latest[2][STATE_FILE])
        return dict(round=state['round'], config_hash=state['about']['config_hash'])
    except (CheckpointError, OSError, ValueError, KeyError, TypeError):  # whoever runs the job is told
        return None


def _result(work_dir: Path) -> Facts | None:
    try:
        values = json.loads((work_dir / RESULT_FILE).read_text())
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
