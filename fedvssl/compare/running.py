"""Doing jobs: each in a process of its own, several at a time, those that need another one after it.

A job that fails costs what needs it and nothing else. An interruption is passed on to the tools, which commit what they
have finished; the next call goes on from there.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from fedvssl.compare.jobs import Job
from fedvssl.errors import ConfigError, StorageError

PATIENCE = 60.0  # seconds that a tool has to commit and end once it is asked to
STOPPED = 130

DONE, FAILED, SKIPPED = 'done', 'failed', 'skipped'


class Runner(Protocol):
    """Whatever can do a job."""

    def __call__(self, job: Job) -> int:
        """Does it and returns an exit code."""

    def stop(self) -> None:
        """Ends what is under way, and starts nothing more."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: ``'done'``, ``'failed'`` (`reason`: exit code and end of its log), or ``'skipped'``
    because what it needs was not done."""

    job: Job
    state: str
    reason: str = ''


class ProcessRunner:
    """Runs the tools of a directory as processes, each with a log.

    Args:
        tools: The directory.
        inherited: Open files that the processes are to inherit, such as the lock of the work directory.
    """

    def __init__(self, tools: Path, inherited: Sequence[IO] = ()) -> None:
        self.tools, self.inherited = tools, inherited
        self._processes: set[subprocess.Popen] = set()
        self._lock, self._stopped = threading.Lock(), False

    def __call__(self, job: Job) -> int:
        """Runs the tool to its end; `STOPPED` where nothing is started any more.

        Raises:
            StorageError: If the log cannot be written.
        """
        begun, continues = time.monotonic(), job.begun and job.resumable
        if not continues:
            # The job's own directory, by its digest: half of what no tool can continue.
            shutil.rmtree(job.work_dir, ignore_errors=True)
        process = self._start(job, [*self.command(job), *(['--resume'] if continues else [])])
        if process is None:
            return STOPPED
        code = process.wait()
        with self._lock:
            self._processes.discard(process)
        job.note(time.monotonic() - begun, code)
        return code

    def command(self, job: Job) -> list[str]:
        """Returns program and arguments."""
        return [sys.executable, str(self.tools / job.tool), *job.arguments, '--work-dir', str(job.work_dir)]

    def _start(self, job: Job, command: Sequence[str]) -> subprocess.Popen | None:
        with self._lock:
            if self._stopped:
                return None
            try:
                job.log.parent.mkdir(parents=True, exist_ok=True)
                with job.log.open('ab') as log:
                    # A session of its own: Ctrl-C is for us, who end the tools in order.
                    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                               start_new_session=True,
                                               pass_fds=[file.fileno() for file in self.inherited])
            except OSError as error:
                raise StorageError(f'{job.log}: could not be written, or the tool not started: {error}') from error
            self._processes.add(process)
            return process

    def stop(self) -> None:
        """Asks the tools to end, and kills those that do not."""
        with self._lock:
            self._stopped = True
            processes = list(self._processes)
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)


def run_jobs(jobs: Sequence[Job], runner: Runner, parallel: int = 1,
             tell: Callable[[Outcome], None] = lambda outcome: None) -> list[Outcome]:
    """Does jobs in their order, `parallel` at a time.

    Args:
        jobs: What is to do. What a job needs must be done, or stand before it.
        runner: Who does it.
        parallel: How many at a time, at least 1.
        tell: Called with each outcome as it comes.

    Returns:
        The outcomes, as they came.

    Raises:
        ConfigError: If `parallel` is below 1.
        StorageError: If logs or records cannot be written.
    """
    if parallel < 1:
        raise ConfigError(f'--jobs: must be at least 1, not {parallel}')
    waiting = list(jobs)
    running: dict[Future[int], Job] = {}
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(parallel, thread_name_prefix='job') as pool:
        try:
            while waiting or running:
                for outcome in _blocked(waiting, outcomes):
                    outcomes.append(outcome)
                    tell(outcome)
                while len(running) < parallel and (job := _next(waiting, running.values())):
                    running[pool.submit(runner, job)] = job
                for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                    outcomes.append(_outcome(running.pop(future), future))
                    tell(outcomes[-1])
        except BaseException:
            runner.stop()
            raise
    return outcomes


def _next(waiting: list[Job], running: Iterable[Job]) -> Job | None:
    """Takes the first job that nothing still to be done stands before."""
    unfinished = [*waiting, *running]
    job = next((job for job in waiting if job.needs not in unfinished), None)
    if job is not None:
        waiting.remove(job)
    return job


def _blocked(waiting: list[Job], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Takes the jobs out of `waiting` whose pretraining was not done."""
    lost = [outcome.job for outcome in outcomes if outcome.state != DONE]
    blocked = [job for job in waiting if job.needs in lost]
    for job in blocked:
        waiting.remove(job)
    return [Outcome(job, SKIPPED, f'{job.needs.name} was not done') for job in blocked if job.needs]


def _outcome(job: Job, future: Future[int]) -> Outcome:
    code = future.result()
    if code == 0 and job.is_done():
        return Outcome(job, DONE)
    reason = f'exit code {code}' if code else 'ended without the result that belongs to its config'
    return Outcome(job, FAILED, f'{reason}; the end of {job.log}:\n{job.tail()}')
