"""Where a comparison stands: the state of its jobs, and how long the rest will take.

The time of a job is estimated from those that are done: of the same arm and stage with other seeds, else of the same
stage, else of the same tool. Where there are none, nobody knows.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from fedvssl.compare.jobs import Job


@dataclass(frozen=True)
class Standing:
    """Where a comparison stands.

    Attributes:
        done: Jobs whose result is there.
        todo: Jobs that are still to do, in their order; a pretraining whose evaluations are all there is not.
    """

    done: Sequence[Job]
    todo: Sequence[Job]

    def remaining(self, parallel: int = 1) -> tuple[float, int]:
        """Returns the seconds that the rest takes, `parallel` jobs at a time, and how many jobs nothing is known of."""
        measured = [(job, job.history()['seconds']) for job in self.done]
        estimates = [_estimate(job, [(other, seconds) for other, seconds in measured if seconds > 0])
                     for job in self.todo]
        return sum(filter(None, estimates)) / parallel, sum(estimate is None for estimate in estimates)


def standing(jobs: Sequence[Job]) -> Standing:
    """Looks which jobs are done, and which are needed for the rest."""
    missing = [job for job in jobs if job.is_evaluation and not job.is_done()]
    sources = {job.needs for job in missing}
    todo = [job for job in jobs if job in missing or job in sources and not job.is_done()]
    return Standing([job for job in jobs if job not in todo], todo)


def _estimate(job: Job, measured: Sequence[tuple[Job, float]]) -> float | None:
    for alike in (('setting', 'arm', 'tool', 'stage'), ('tool', 'stage'), ('tool',)):
        seconds = [value for other, value in measured
                   if all(getattr(other, name) == getattr(job, name) for name in alike)]
        if seconds:
            return statistics.fmean(seconds)
    return None


def listing(position: Standing, jobs: Sequence[Job]) -> str:
    """Returns one line per job: its state, time so far, and name."""
    lines = []
    for job in jobs:
        history = job.history()
        if job in position.done:
            state = 'done'
        elif history['exit_code']:
            state = f'failed ({history["exit_code"]})' if history['exit_code'] != 130 else 'interrupted'
        else:
            state = 'begun' if job.begun else 'to do'
        seconds = f'{history["seconds"]:.0f} s' if history['attempts'] else '-'
        lines.append(f'{state:<12} {seconds:>8}  {job.name}')
    return '\n'.join(lines)


def summary(position: Standing, parallel: int = 1) -> str:
    """Returns how many jobs are done and about how long the rest takes."""
    total = len(position.done) + len(position.todo)
    text = f'{len(position.done)} of {total} jobs done'
    if not position.todo:
        return text
    seconds, unknown = position.remaining(parallel)
    if unknown == len(position.todo):
        return f'{text}; how long the rest takes is not known before the first ones are'
    rest = f'about {clock(seconds)} left with {parallel} at a time'
    return f'{text}; {rest}' + (f', and {unknown} jobs of kinds that none is done of' if unknown else '')


def clock(seconds: float) -> str:
    """Returns hours and minutes, such as ``2:05 h``, or minutes, or seconds."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes // 60}:{minutes % 60:02d} h' if minutes >= 60 else f'{minutes} min'
