"""What a pickle gets in place of a class or function that it names."""

from typing import Any


class Inert:
    """Stands in for a class or function: takes any arguments and any state, keeps them, does nothing.

    Its own ``__setstate__`` is what keeps a pickle from writing attributes, of instances or of the class itself.
    """

    __slots__ = ('arguments', 'state')
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> 'Inert':
        """Keeps the arguments; a pickle may call this without ``__init__``."""
        self = super().__new__(cls)
        self.arguments, self.state = arguments, None
        return self

    def __setstate__(self, state: Any) -> None:
        """Keeps the state."""
        self.state = state
