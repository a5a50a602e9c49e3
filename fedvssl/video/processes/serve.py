"""The main loop of a child process (the other end is ``child.py``)."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fedvssl.video.errors import describe
from fedvssl.video.processes import wire

Handler = Callable[[dict[str, Any]], tuple[dict[str, Any], np.ndarray | None]]

_LOOK_FOR_PARENT_SECONDS = 2.0


def serve(handler: Handler) -> None:
    """Answers requests until the parent closes the pipe or ends; an exception becomes an answer with key ``error``.

    Args:
        handler: Gets a request, returns the header and the payload of the answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to parent and child alike
    parent = int(sys.argv[1])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # What a decoder prints must not get between the answers.
    answers = os.fdopen(os.dup(1), 'wb')
    with open(os.devnull, 'wb') as nowhere:  # noqa: PTH123 (a device, not a path of ours)
        os.dup2(nowhere.fileno(), 1)
        log = _Log()
        logging.getLogger('fedvssl').addHandler(log)
        _send(answers, *_packed({'ready': True}, None, log))
        os.dup2(nowhere.fileno(), 2)  # from now on, who complains to the terminal is a decoder
    while (request := wire.read_header(sys.stdin.buffer)) is not None:
        try:
            answer = _packed(*handler(request), log)
        except Exception as error:  # decoders raise a dozen unrelated types; the parent makes one of them
            answer = _packed({'error': describe(error)}, None, log)
        _send(answers, *answer)


class _Log(logging.Handler):
    """Keeps what is logged until the next answer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a record."""
        self.records.append((record.levelno, record.getMessage()))


def _packed(header: dict[str, Any], payload: np.ndarray | None, log: _Log) -> tuple[bytes, bytes]:
    raw = b'' if payload is None else payload.tobytes()
    more: dict[str, Any] = {wire.LOG: log.records} if log.records else {}
    head = wire.pack({**header, **more, wire.PAYLOAD: len(raw)})
    log.records = []
    return head, raw


def _send(answers: Any, head: bytes, raw: bytes) -> None:
    answers.write(head)
    answers.write(raw)
    answers.flush()


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended.

    A parent that is killed closes its pipes, but its forks may hold copies of them; and a decoder that hangs does not
    look at its pipe.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_FOR_PARENT_SECONDS)
    os._exit(0)
