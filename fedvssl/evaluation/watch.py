"""A figure that must not stay low: said once it has been for several evaluations on end, and again after a relapse."""

import logging

logger = logging.getLogger('fedvssl')


class Watch:
    """Watches one figure.

    Args:
        name: What the figure is called.
        limit: It is low below this.
        patience: Evaluations in a row that it may be low before that is said.
        advice: What to look at.
        grace: Rounds in which it may be low and nothing is said.
    """

    def __init__(self, name: str, limit: float, patience: int, advice: str, grace: float = 0) -> None:
        self.name, self.limit, self.patience, self.advice, self.grace = name, limit, patience, advice, grace
        self._since: int | None = None
        self._times = 0
        self._said = False

    def see(self, number: int, value: float) -> bool:
        """Takes down the figure of a round, warns if that is due, and returns whether it counts as low for good.

        Args:
            number: The round.
            value: The figure; what is not a number is low.
        """
        if value >= self.limit:
            if self._said:
                logger.warning('round %d: %s is %.4g again', number, self.name, value)
            self._since, self._times, self._said = None, 0, False
            return False
        self._since, self._times = number if self._since is None else self._since, self._times + 1
        low = self._times >= self.patience and number >= self.grace
        if low and not self._said:
            self._said = True
            logger.warning('round %d: %s is %.4g, below %.4g, and has been since round %d: %s', number, self.name,
                           value, self.limit, self._since, self.advice)
        return low
