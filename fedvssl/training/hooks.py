"""Side jobs of a run: six points at which hooks are called, and the base class that does nothing at any of them.

mmengine's hooks need its Runner. A *round* is a federated round or, when one machine trains alone, an epoch; a *step*
is a client's reply or an optimiser step. Metrics are flat dictionaries of JSON values.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

Metrics = Mapping[str, Any]
Arrays = Callable[[], Mapping[str, np.ndarray]]  # unpacked only for a hook that asks


class Hook:
    """Base of all hooks; override what is needed."""

    def before_run(self, info: Metrics) -> None:
        """Called once; `info` holds ``rounds`` (total), ``first_round`` and what describes the run."""

    def before_round(self, number: int, steps: int) -> None:
        """Called before round `number` (from 1), which will take `steps` steps."""

    def after_reply(self, number: int, metrics: Metrics, sent: Arrays, received: Arrays) -> None:
        """Called for each reply of a client that counts, before its step, and never kept by anybody else.

        Args:
            number: The round.
            metrics: As for `after_step`.
            sent: Gives the named tensors that the client started from.
            received: Gives those that it sent back. Neither may be changed, or looked at later.
        """

    def after_step(self, number: int, metrics: Metrics) -> None:
        """Called after each step of round `number`."""

    def after_round(self, number: int, metrics: Metrics) -> None:
        """Called when round `number` is finished and safe."""

    def after_run(self, metrics: Metrics) -> None:
        """Called once at the end, also after an error (``error`` then names it)."""


class Hooks(Hook):
    """Calls several hooks in turn."""

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self.hooks = list(hooks)

    def before_run(self, info: Metrics) -> None:
        """Passes the call on."""
        for hook in self.hooks:
            hook.before_run(info)

    def before_round(self, number: int, steps: int) -> None:
        """Passes the call on."""
        for hook in self.hooks:
            hook.before_round(number, steps)

    def after_reply(self, number: int, metrics: Metrics, sent: Arrays, received: Arrays) -> None:
        """Passes the call on."""
        for hook in self.hooks:
            hook.after_reply(number, metrics, sent, received)

    def after_step(self, number: int, metrics: Metrics) -> None:
        """Passes the call on."""
        for hook in self.hooks:
            hook.after_step(number, metrics)

    def after_round(self, number: int, metrics: Metrics) -> None:
        """Passes the call on."""
        for hook in self.hooks:
            hook.after_round(number, metrics)

    def after_run(self, metrics: Metrics) -> None:
        """Passes the call on."""
        for hook in self.hooks:
            hook.after_run(metrics)
