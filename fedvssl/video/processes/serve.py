"""The main loop of a child process (the other end is ``child.py``)."""

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
    _answer(answers, {'ready': True}, None)
    while (request := wire.read_header(sys.stdin.buffer)) is not None:
        try:
            header, payload = handler(request)
        except Exception as error:  # decoders raise a dozen unrelated types; the parent makes one of them
            header, payload = {'error': describe(error)}, None
        _answer(answers, header, payload)


def _answer(answers: Any, header: dict[str, Any], payload: np.ndarray | None) -> None:
    raw = b'' if payload is None else payload.tobytes()
    answers.write(wire.pack({**header, wire.PAYLOAD: len(raw)}))
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
