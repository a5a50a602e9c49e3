"""A whole federation on one machine: a SuperLink and SuperNodes on 127.0.0.1, with TLS and node authentication.

Certificates, keys, Flower's home and everything temporary are in a directory that goes with it. For trying out what is
to run on several hosts, and for tests of that.
"""

import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fedvssl.errors import ConfigError, FedVSSLError
from fedvssl.federated.launch.connection import Connection
from fedvssl.federated.launch.credentials import Credentials, make_credentials, make_node_key
from fedvssl.federated.launch.processes import Daemon, end, program, quiet_environment, undisturbed
from fedvssl.federated.launch.submission import SuperLink
from fedvssl.federated.messages import PARTITION

HOST = '127.0.0.1'
NAME = 'loopback'  # of the connection
START_PATIENCE = 120.0  # seconds
RESTART_PAUSE = 5.0  # seconds
JOINED = 'SuperNode ID:'  # what a SuperNode logs when it is taken


class Loopback:
    """Context manager: the SuperLink runs within it, SuperNodes are started by `start_node`.

    Args:
        logs: Where the processes' logs go.
        insecure: Whether to do without TLS and authentication, for comparison.
        port: Of the SuperLink; by default one that is free.
        environment: Entries for the environment of all processes.

    Attributes:
        superlink: Flower's command line, pointed at it; `superlink.environment` is for other commands.
        nodes: The SuperNodes by partition.

    Raises:
        ConfigError: On entering, if the port is in use or the SuperLink does not start.
    """

    superlink: SuperLink

    def __init__(self, logs: Path, insecure: bool = False, port: int | None = None,
                 environment: Mapping[str, str] | None = None) -> None:
        self.logs, self.insecure, self.port = logs.resolve(), insecure, port
        self.nodes: dict[int, Daemon] = {}
        self._environment = dict(environment or {})
        self._daemons: list[Daemon] = []
        self._registered: set[Path] = set()

    def __enter__(self) -> 'Loopback':
        self.directory = Path(tempfile.mkdtemp(prefix='fedvssl-loopback-'))
        try:
            self._start_superlink()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        with undisturbed():
            end(self._daemons, str(self.directory))
            shutil.rmtree(self.directory, ignore_errors=True)

    def _start_superlink(self) -> None:
        self.port = _require_free(self.port) if self.port else free_port()
        self.credentials = None if self.insecure else make_credentials(self.directory, HOST)
        connection = Connection(NAME, f'{HOST}:{self.port}', self.insecure)
        self.superlink = SuperLink(connection, self._environment_of('superlink'))
        security = 'insecure = true' if self.insecure else f'root-certificates = "{self._credentials.authority}"'
        home = Path(self.superlink.environment['FLWR_HOME'])
        (home / 'config.toml').write_text(f'[superlink]\ndefault = "{NAME}"\n\n[superlink.{NAME}]\n'
                                          f'address = "{connection.address}"\n{security}\n')
        daemon = self._start('superlink', [
            program('flower-superlink'), *self._server_security(), '--disable-runtime-dependency-installation',
            '--host', HOST, '--port', str(self.port)])
        _wait_for_port(daemon, self.port)

    @property
    def _credentials(self) -> Credentials:
        assert self.credentials is not None
        return self.credentials

    def _server_security(self) -> list[str]:
        if self.insecure:
            return ['--insecure']
        files = self._credentials
        return ['--ssl-ca-certfile', str(files.authority), '--ssl-certfile', str(files.certificate), '--ssl-keyfile',
                str(files.key), '--enable-supernode-auth']

    def start_node(self, partition: int, *, registered: bool = True, authority: Path | None = None,
                   node_config: Mapping[str, Any] | None = None, arguments: tuple[str, ...] = ()) -> Daemon:
        """Starts the SuperNode of a partition, or starts it again, under the same key.

        Args:
            partition: Its partition.
            registered: Whether its key is registered first, unless it is already.
            authority: Certificate by which it judges the SuperLink; the right one by default.
            node_config: Further entries, such as ``work-dir`` and ``data-root``.
            arguments: Further arguments of ``flower-supernode``.
        """
        values = {PARTITION: partition, **(node_config or {})}
        written = ' '.join(f'{key}={_toml(value)}' for key, value in values.items())
        name = f'supernode-{partition}'
        self.nodes[partition] = self._start(name, [
            program('flower-supernode'), *self._node_security(partition, registered, authority), '--superlink',
            f'{HOST}:{self.port}', '--host', HOST, '--port', str(free_port()), '--node-config', written, *arguments])
        return self.nodes[partition]

    def restart_node(self, partition: int, patience: float = 120.0, **arguments: Any) -> Daemon:
        """Starts a SuperNode until the SuperLink takes it, as a service manager would.

        A SuperLink refuses a key that it believes to be connected; of a SuperNode that was killed it does so for a
        minute.

        Args:
            partition: Its partition.
            patience: Seconds to try.
            arguments: As for `start_node`.

        Raises:
            FedVSSLError: If it is never taken.
        """
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            daemon = self.start_node(partition, **arguments)
            while daemon.ended is None and JOINED not in daemon.output():
                time.sleep(0.1)
            if daemon.ended is None:
                return daemon
            self._daemons.remove(daemon)
            time.sleep(RESTART_PAUSE)
        raise FedVSSLError(f'{daemon.name} was refused for {patience:g} s, see {daemon.log}:\n{daemon.tail()}')

    def _node_security(self, partition: int, registered: bool, authority: Path | None) -> list[str]:
        if self.insecure:
            return ['--insecure']
        key = self.directory / f'supernode-{partition}.key'
        public = key.with_name(f'{key.name}.pub') if key.exists() else make_node_key(key)
        if registered and public not in self._registered:
            self.superlink.register(public)
            self._registered.add(public)
        return ['--root-certificates', str(authority or self._credentials.authority), '--auth-supernode-private-key',
                str(key)]

    def _start(self, name: str, command: list[str]) -> Daemon:
        daemon = Daemon(name, command, self._environment_of(name), self.logs / f'{name}.log')
        self._daemons.append(daemon)
        return daemon

    def _environment_of(self, name: str) -> dict[str, str]:
        """Returns a process's environment; its Flower home, below our directory, is also what marks it as ours."""
        home, temporary = self.directory / name, self.directory / 'tmp'
        for directory in (home, temporary):
            directory.mkdir(exist_ok=True)
        # What is started later in a home of its own does not meet another process that just unpacks the same app.
        return quiet_environment() | self._environment | dict(
            FLWR_HOME=str(home), TMPDIR=str(temporary), NO_PROXY=HOST, no_proxy=HOST, PYTHONUNBUFFERED='1')

    def wait_for_nodes(self) -> None:
        """Waits until the SuperLink has taken every SuperNode that was started.

        Raises:
            FedVSSLError: If one has ended by itself, or they do not all join.
        """
        joined, since = 0, time.monotonic()
        while waiting := [node.name for node in self.nodes.values() if JOINED not in node.output()]:
            self.require_all_running()
            if len(self.nodes) - len(waiting) > joined:
                joined, since = len(self.nodes) - len(waiting), time.monotonic()
            if time.monotonic() > since + START_PATIENCE:
                raise FedVSSLError(f'{", ".join(waiting)} did not join within {START_PATIENCE:g} s of the one before, '
                                   f'see {self.logs}')
            time.sleep(0.1)

    def require_all_running(self) -> None:
        """Raises if a program has ended by itself.

        Raises:
            FedVSSLError: Naming it, with the last lines of its log.
        """
        for daemon in self._daemons:
            if daemon.ended is not None:
                raise FedVSSLError(f'{daemon.name} ended by itself (exit code {daemon.ended}), see {daemon.log}:\n'
                                   f'{daemon.tail()}')


def free_port() -> int:
    """Returns a port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _require_free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the SuperLink: a port just given up is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f'--port: {port} on {HOST}: {error.strerror}; choose another, or leave it out to have a '
                              f'free one chosen') from error
    return port


def _wait_for_port(daemon: Daemon, port: int) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline and daemon.ended is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    state = 'does not answer' if daemon.ended is None else f'ended with exit code {daemon.ended}'
    raise ConfigError(f'{daemon.name} on port {port} {state}, see {daemon.log}:\n{daemon.tail()}')


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
