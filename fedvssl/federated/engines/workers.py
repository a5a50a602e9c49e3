"""Clients in persistent processes: a client that dies or hangs costs one update.

The processes come from a fork server that has imported the heavy libraries once; tensors reach them through shared
memory. Messages go out in order, at most two a process ahead of the oldest unanswered one, so that replies kept back
for their turn stay few. A process ends when the one that started it does, however that dies.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from flwr.app import Error, Message

from fedvssl.federated.engines import AppFactory
from fedvssl.federated.engines.answer import CLIENT_LOST, Contexts, answer
from fedvssl.federated.engines.local import LocalGrid
from fedvssl.federated.engines.parcels import Parcels

logger = logging.getLogger('fedvssl')

AHEAD = 2  # messages per process that may overtake the oldest unanswered one
TRIES = 2  # a client that died or timed out is tried once more, with the same bits


@dataclass(eq=False)
class _Job:
    message: Message
    position: int
    tries: int = 0
    lost: list[str] = field(default_factory=list)


class WorkerGrid(LocalGrid):
    """Clients in `workers` processes.

    Args:
        make_app: Builds the client app in each process; must be picklable.
        num_clients: Clients there are.
        workers: Processes.
        timeout: Seconds a client may take for one message.
    """

    def __init__(self, make_app: AppFactory, num_clients: int, workers: int, timeout: float) -> None:
        super().__init__(make_app, num_clients)
        self.timeout = timeout
        self._workers = [_Worker(make_app, num_clients) for _ in range(workers)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yields the reply to each message, in order; an error reply for a client that died or timed out twice.

        Args:
            messages: Messages to clients.
            timeout: Seconds a client may take; the engine's own by default.
        """
        queue = deque(_Job(self._stamped(message), position) for position, message in enumerate(messages))
        total, turn, done = len(queue), 0, dict[int, Message]()
        patience = timeout or self.timeout
        try:
            while turn < total:
                self._dispatch(queue, turn, patience)
                for job, reply in self._collect():
                    if reply is not None:
                        done[job.position] = reply
                    elif job.tries < TRIES:
                        queue.appendleft(job)
                    else:
                        done[job.position] = Message(Error(CLIENT_LOST, '; '.join(job.lost)), reply_to=job.message)
                while turn in done:
                    turn += 1
                    self._dispatch(queue, turn, patience)  # the processes go on while the caller uses this reply
                    yield done.pop(turn - 1)
        finally:
            for worker in self._workers:
                if worker.job is not None:  # the caller stopped early: what is under way must not answer later
                    worker.stop()

    def _dispatch(self, queue: deque[_Job], turn: int, timeout: float) -> None:
        for worker in self._workers:
            if worker.job is None and queue and queue[0].position < turn + AHEAD * len(self._workers):
                worker.start(queue.popleft(), timeout)

    def _collect(self) -> Iterator[tuple[_Job, Message | None]]:
        """Waits until a process has answered, died or run out of time; yields jobs with their reply or None."""
        busy = [worker for worker in self._workers if worker.job is not None]
        patience = max(min(worker.deadline for worker in busy) - time.monotonic(), 0)
        ready = wait([worker.connection for worker in busy], timeout=patience)
        for worker in busy:
            if worker.connection in ready:
                yield worker.finish()
            elif time.monotonic() >= worker.deadline:
                yield worker.give_up()

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One process, started when needed and again after its death."""

    def __init__(self, make_app: AppFactory, num_clients: int) -> None:
        self._context = get_context('forkserver')
        self._context.set_forkserver_preload(['fedvssl.federated.client'])
        self._arguments = (make_app, num_clients)
        self._process: BaseProcess | None = None
        self.connection: Connection  # there is one while there is a process, and all that `_launch` makes
        self.job: _Job | None = None
        self.deadline = 0.0

    def start(self, job: _Job, timeout: float) -> None:
        """Sends a job to the process."""
        if self._process is None or not self._process.is_alive():
            self.stop()
            self._launch()
        job.tries += 1
        self.job, self.deadline, self._timeout = job, time.monotonic() + timeout, timeout
        # The messages of a round share their tensors. The answer must leave alone what is left of earlier ones.
        packed = self._outgoing.pack((job.message, self._incoming.occupied()), again=True)
        # From a thread, because a process that does not read would block us past the deadline.
        threading.Thread(target=_send, args=(self.connection, packed), daemon=True).start()

    def _launch(self) -> None:
        self.connection, theirs = self._context.Pipe()
        ends, self._lifeline = self._context.Pipe(duplex=False)
        self._outgoing, self._incoming = Parcels(), Parcels()
        arguments = (theirs, ends, self._outgoing, self._incoming, *self._arguments)
        process = self._context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        self._process = process  # not before: an interrupt may come in between
        theirs.close()
        ends.close()

    def finish(self) -> tuple[_Job, Message | None]:
        """Returns the job with its reply, or without one if the process died."""
        job = self._release()
        try:
            return job, self._incoming.unpack(self.connection.recv_bytes())
        except (EOFError, OSError):  # the latter if it died within its answer
            assert self._process is not None
            self._process.join()
            job.lost.append(f'its process died (exit code {self._process.exitcode})')
            self.stop()
            return job, None

    def give_up(self) -> tuple[_Job, None]:
        """Kills the process and returns its job."""
        job = self._release()
        job.lost.append(f'no answer within {self._timeout:g} s; its process was killed')
        self.stop()
        return job, None

    def _release(self) -> _Job:
        job, self.job = self.job, None
        assert job is not None
        return job

    def stop(self) -> None:
        """Kills the process, whatever it does."""
        self.job = None
        if self._process is not None:
            self._process.kill()
            self._process.join()
            for end in (self.connection, self._lifeline, self._outgoing, self._incoming):
                end.close()
            self._process = None


def _send(connection: Connection, packed: bytes) -> None:
    # If the process died or was killed meanwhile, the connection says so to whoever waits for the answer.
    with contextlib.suppress(OSError, TypeError):  # a closed connection has no handle: TypeError
        connection.send_bytes(packed)


def _serve(connection: Connection, lifeline: Connection, incoming: Parcels, outgoing: Parcels, make_app: AppFactory,
           num_clients: int) -> None:
    """Answers messages until the other end closes; runs in the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the server decides what happens
    threading.Thread(target=_die_with, args=(lifeline,), daemon=True).start()
    app, contexts = make_app(), Contexts(num_clients)
    while True:
        try:
            message, occupied = incoming.unpack(connection.recv_bytes())
        except EOFError:
            return
        connection.send_bytes(outgoing.pack(answer(app, message, contexts), occupied))


def _die_with(lifeline: Connection) -> None:
    """Ends the process when the other end of a pipe is gone, even in the midst of training."""
    lifeline.poll(None)
    os._exit(1)
