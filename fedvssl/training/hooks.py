"""Side jobs of a run: five points at which hooks are called, and the base class that does nothing at any of them.

mmengine's hooks need its Runner. A *round* is a federated round or, when one machine trains alone, an epoch; a *step*
is a client's reply or an optimiser step. Metrics are flat dictionaries of JSON values.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Metrics = Mapping[str, Any]


class Hook:
    """Base of all hooks; override what is needed."""

    def before_run(self, info: Metrics) -> None:
        """Called once; `info` holds ``rounds`` (total), ``first_round`` and what describes the run."""

    def before_round(self, number: int, steps: int) -> None:
        """Called before round `number` (from 1), which will take `steps` steps."""

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
