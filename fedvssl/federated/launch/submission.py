"""Handing a run to a SuperLink, following it, and telling how it ended.

Flower's commands exit with 0 when a run fails, so the outcome is asked for: the server app puts our exit code into the
details of its failure (`fedvssl.federated.deployment.FAILURE`).
"""

import json
import logging
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedvssl.errors import ConfigError, FedVSSLError, Interrupted, error_kind
from fedvssl.federated.deployment import CONFIG_FILE, OPTIONS, RESUME, WORK_DIR
from fedvssl.federated.launch.connection import Connection, fault
from fedvssl.federated.launch.processes import program, quiet_environment, undisturbed

logger = logging.getLogger('fedvssl')

POLL = 1.0  # seconds
LINK_PATIENCE, LINK_TRIES = 30.0, 3  # seconds, and questions, that a SuperLink may leave unanswered
STOP_PATIENCE = 60.0  # seconds for a run to end once it was told to
OURS = ('federation.engine', 'federation.superlink')  # overrides that say how a run is handed over, and do not travel
FINISHED, COMPLETED, STOPPED = 'finished', 'finished:completed', 'finished:stopped'

_EXIT_CODE = re.compile(r'fedvssl exit code (?P<code>[0-9]+): (?P<reason>.*)', re.DOTALL)


@dataclass(frozen=True)
class Outcome:
    """How a run stands: Flower's status, such as ``finished:failed``, and what it says about it."""

    status: str
    details: str


class SuperLink:
    """Flower's command line, pointed at one SuperLink.

    Args:
        connection: The SuperLink.
        environment: Where ``FLWR_HOME`` may be; our own by default.
    """

    def __init__(self, connection: Connection, environment: Mapping[str, str] | None = None) -> None:
        self.connection = connection
        self.environment = quiet_environment(environment)

    def train(self, app: Path, config: str, options: Iterable[str], work_dir: Path, resume: bool) -> None:
        """Runs our app (`fedvssl.federated.deployment`) to its end, as `run` does.

        Args:
            app: Its directory, ``tools/flower_app``.
            config: Path of the config, as it is on every machine.
            options: Overrides, ``key=value`` each.
            work_dir: Where the run is kept, as it is on the SuperLink's machine.
            resume: Whether to continue the run there.
        """
        travelling = shlex.join(option for option in options if option.partition('=')[0] not in OURS)
        self.run(app, {CONFIG_FILE: config, OPTIONS: travelling, WORK_DIR: str(work_dir), RESUME: resume})

    def run(self, app: Path, run_config: Mapping[str, str | bool]) -> None:
        """Runs an app to its end, its output on ours; stops it if we are interrupted.

        Args:
            app: Directory of the app.
            run_config: What the app is told.

        Raises:
            FedVSSLError: What the run failed with; without an exit code of ours, if it is nobody's input's fault.
            Interrupted: If the run was stopped, by us or by somebody else.
        """
        run = None
        try:
            with undisturbed():  # until its id is known, nobody could stop it
                run = self.start(app, run_config)
            outcome = self.follow(run)
        except KeyboardInterrupt:
            if run is not None:
                self.stop(run)
            raise
        _raise_for(outcome)

    def start(self, app: Path, run_config: Mapping[str, str | bool]) -> str:
        """Hands a run over and returns its id.

        Raises:
            ConfigError: If the SuperLink does not take it.
        """
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / 'run.toml'
            file.write_text(''.join(f'{key} = {json.dumps(value)}\n' for key, value in run_config.items()))
            return str(self._ask('run', str(app), self.connection.name, '--run-config', str(file))['run-id'])

    def follow(self, run: str) -> Outcome:
        """Shows what the server app prints until the run has ended.

        Raises:
            ConfigError: If the SuperLink is away for longer than a moment; the run may go on there.
        """
        subprocess.run([program('flwr'), 'log', run, self.connection.name, '--stream'], env=self.environment,
                       stdin=subprocess.DEVNULL, check=False)
        heard, unanswered = time.monotonic(), 0
        while True:  # the stream may break before the run ends
            try:
                outcome, heard, unanswered = self.outcome(run), time.monotonic(), 0
            except ConfigError as error:
                unanswered += 1  # one question to a frozen SuperLink takes longer than the patience
                if unanswered >= LINK_TRIES and time.monotonic() > heard + LINK_PATIENCE:
                    raise ConfigError(f'{error}; run {run} may go on there: flwr list, flwr log {run}') from error
            else:
                if outcome.status.startswith(FINISHED):
                    return outcome
            time.sleep(POLL)

    def outcome(self, run: str) -> Outcome:
        """Returns how a run stands."""
        found = self._ask('list', self.connection.name, '--run-id', run)['runs'][0]
        return Outcome(found['status'], found['status-details'])

    def stop(self, run: str) -> None:
        """Tells a run to end and waits until it has; what goes wrong is logged, since we are on our way out."""
        try:
            self._ask('stop', run, self.connection.name)
            deadline = time.monotonic() + STOP_PATIENCE
            while time.monotonic() < deadline and not self.outcome(run).status.startswith(FINISHED):
                time.sleep(POLL)
        except FedVSSLError as error:
            logger.warning('run %s may go on: %s', run, error)

    def register(self, public_key: Path) -> None:
        """Admits a SuperNode by its public key.

        Raises:
            ConfigError: If the SuperLink refuses it.
        """
        self._ask('supernode', 'register', str(public_key), self.connection.name)

    def nodes(self) -> list[dict[str, Any]]:
        """Returns what the SuperLink knows of its SuperNodes."""
        return self._ask('supernode', 'list', self.connection.name)['nodes']

    def _ask(self, *arguments: str) -> dict[str, Any]:
        """Returns the answer of a command of Flower's.

        Raises:
            ConfigError: If it fails.
        """
        # In a session of its own: it must be able to finish when we are interrupted, to stop the run.
        answer = subprocess.run([program('flwr'), *arguments, '--format', 'json'], env=self.environment,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                                start_new_session=True)
        try:
            found = json.loads(answer.stdout)
        except ValueError:
            found = {}
        if answer.returncode == 0 and found.get('success'):
            return found
        said = str(found.get('error-message') or answer.stderr or answer.stdout).strip().splitlines()
        reason = fault(self.connection) or '; '.join(line for line in said if line and 'Using SuperLink' not in line)
        raise ConfigError(f'federation.superlink: {self.connection.name!r} ({self.connection.address}): "flwr '
                          f'{arguments[0]}" fails: {reason}')


def _raise_for(outcome: Outcome) -> None:
    if outcome.status == COMPLETED:
        return
    if outcome.status == STOPPED:
        raise Interrupted('the run was stopped; continue it with --resume')
    match = _EXIT_CODE.search(outcome.details)
    kind = match and error_kind(int(match['code']))
    if match and kind:
        raise kind(match['reason'])
    raise FedVSSLError(f'the run ended as {outcome.status}: {outcome.details}')
