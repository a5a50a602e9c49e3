"""Trying what may crash or hang, in a process of its own.

One child tries one target after the other, so that heavy libraries are loaded once; after one that fails, another child
goes on with the next. A target is ``module`` or ``module:function``.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

from fedvssl.environment import describe_environment

if TYPE_CHECKING:
    import numpy as np

_CHILD = ('import json, sys; sys.path[:], targets = json.loads(sys.argv[1]); '
          'from fedvssl.installation.probes import serve; serve(targets)')

_TOLERANCE = 8.0  # mean absolute error of 8-bit colours; 2 with PyAV 18, 54 with red and blue exchanged


class WrongResultError(Exception):
    """Something came back, but not what it should have been."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a target.

    Attributes:
        failure: What went wrong, in one line, or None.
        value: What its function returned, if that is a dictionary (of JSON values).
    """

    failure: str | None
    value: dict[str, Any] | None = None


def try_in_children(targets: Sequence[str], deadline: float) -> list[Outcome]:
    """Returns the outcome of each target. Nothing that a target does can harm the caller.

    Args:
        targets: What to import, and to call.
        deadline: Seconds after which a child is killed.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < len(targets):
        outcomes += _try_until_failure(targets[len(outcomes):], deadline)
    return outcomes


def _try_until_failure(targets: Sequence[str], deadline: float) -> list[Outcome]:
    """Returns the outcomes of one child: of all targets, or of those up to the first that fails."""
    command = [sys.executable, '-c', _CHILD, json.dumps([sys.path, targets])]
    try:
        child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=deadline)
        output, end = child.stdout, _cause_of_death(child.returncode, child.stderr)
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b'', f'hangs: no end within {deadline:g} s'
    outcomes = [Outcome(**json.loads(line)) for line in output.splitlines()]
    if len(outcomes) == len(targets) or outcomes and outcomes[-1].failure is not None:
        return outcomes
    return [*outcomes, Outcome(end)]


def _cause_of_death(code: int, stderr: bytes) -> str:
    end = f'killed by {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'
    *_, last_words = stderr.decode(errors='replace').strip().rpartition('\n')
    return f'ends the process ({end})' + (f', saying: {textwrap.shorten(last_words, 160)}' if last_words else '')


def serve(targets: Sequence[str]) -> None:
    """Runs in the child: reports the outcome of each target on stdout as a line of JSON, and ends the process."""
    reports = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # whatever a library prints goes elsewhere
    for target in targets:
        outcome = _outcome(target)
        reports.write(json.dumps(asdict(outcome)) + '\n')
        reports.flush()
        if outcome.failure is not None:
            break
    os._exit(0)  # nothing that a library does at exit can spoil it


def _outcome(target: str) -> Outcome:
    module, _, function = target.partition(':')
    try:
        found = importlib.import_module(module)
        value = getattr(found, function)() if function else None
    except BaseException as error:  # a panic of an extension written in Rust, or SystemExit, is no Exception
        return Outcome(textwrap.shorten(f'{type(error).__name__}: {error}', 240))
    return Outcome(None, value if isinstance(value, dict) else None)


def describe() -> dict[str, Any]:
    """Returns the environment as `describe_environment` does, and what torch was built for."""
    import torch

    version = torch.version
    build = f'CUDA {version.cuda}' if version.cuda else f'ROCm {version.hip}' if version.hip else 'CPU'
    return dict(describe_environment(), build=build)


def convolve() -> None:
    """Convolves ones with torch, from numpy to numpy, on the CPU and on the GPU if torch sees one.

    Raises:
        WrongResultError: If the result is wrong.
    """
    import numpy as np
    import torch

    ones = torch.from_numpy(np.ones((1, 2, 3, 4, 4), np.float32))
    for device in ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']:
        x = ones.to(device)
        result = torch.nn.functional.conv3d(x, x[..., :3, :3]).cpu().numpy()
        if not np.array_equal(result, np.full((1, 1, 1, 2, 2), 54, np.float32)):
            raise WrongResultError(f'conv3d of ones on {device} gives {result.ravel().tolist()} instead of 54 each')


def reencode() -> None:
    """Encodes and decodes a clip of four frames with PyAV, in memory.

    Raises:
        WrongResultError: If other frames come back.
    """
    import numpy as np

    ramp = np.linspace(0, 160, 64 * 48 * 4).reshape(4, 48, 64, 1)
    frames = (ramp + np.array([80, 40, 0])).astype(np.uint8)
    decoded = _decoded(_encoded(frames))
    if decoded.shape != frames.shape:
        raise WrongResultError(f'frames (T, H, W, C) {decoded.shape} were decoded instead of {frames.shape}')
    difference = float(np.abs(decoded.astype(np.float32) - frames).mean())
    if difference > _TOLERANCE:
        raise WrongResultError(f'colours come back {difference:.0f} of 255 off')


def _encoded(x_THWC: 'np.ndarray') -> BytesIO:
    import av

    file = BytesIO()
    with av.open(file, 'w', format='mp4') as container:
        # Presets from veryfast on use x264's mbtree, which reads uninitialised memory on pictures this narrow.
        stream = container.add_stream('libx264', rate=24, options={'crf': '18', 'preset': 'superfast'})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = x_THWC.shape[2], x_THWC.shape[1], 'yuv420p'
        stream.codec_context.thread_count = 1
        for frame in x_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
    file.seek(0)
    return file


def _decoded(file: BytesIO) -> 'np.ndarray':
    import av
    import numpy as np

    with av.open(file, 'r') as container:
        return np.stack([frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)])
