"""Runs a config on a complete federation on this machine: SuperLink and one SuperNode per client, over TLS.

What `tools/deploy_local.sh` calls. Certificates and keys are made on the spot; everything is ended and removed
afterwards, also after a failure or Ctrl-C. Logs stay in WORK_DIR/logs.
"""

import sys
from argparse import Namespace
from pathlib import Path

from fedvssl.cli import parse_options, run_parser, run_tool
from fedvssl.sections import DEPLOYMENT


def main() -> None:
    """Reads the options and runs."""
    args = _options()

    from fedvssl.config import check_types, load_config
    from fedvssl.data.partitioners import num_own_lists
    from fedvssl.errors import INTERNAL_ERROR, ConfigError, FedVSSLError
    from fedvssl.federated.deployment import DATA_ROOT
    from fedvssl.federated.launch.loopback import Loopback
    from fedvssl.federated.run import check_run, num_clients

    options = [*args.cfg_options, f'federation.engine={DEPLOYMENT}']
    config = load_config(args.config, parse_options(options))
    config.section('federation')
    check_types(config)
    if num_own_lists(config.data) is not None and not args.data_root:
        raise ConfigError('--data-root: every client has a list of its own, so say where it is, e.g. '
                          '--data-root data/site{partition}')
    if args.check:
        sys.stdout.write(check_run(config) + '\n')
        return
    work_dir = Path(args.work_dir or Path('work_dirs') / Path(args.config).stem)
    clients = num_clients(config)
    with Loopback(work_dir / 'logs', args.insecure, args.port) as loopback:
        for partition in range(clients):
            root = {DATA_ROOT: args.data_root.replace('{partition}', str(partition))} if args.data_root else {}
            loopback.start_node(partition, node_config=root)
        loopback.wait_for_nodes()
        try:
            loopback.superlink.train(args.app, args.config, args.cfg_options, work_dir, args.resume)
        except FedVSSLError as error:
            if error.exit_code in (INTERNAL_ERROR, ConfigError.exit_code):
                # A program that ended by itself is the better explanation.
                loopback.require_all_running()
            raise
        loopback.require_all_running()


def _options() -> Namespace:
    parser = run_parser(__doc__)
    parser.add_argument('--insecure', action='store_true', help='without TLS and authentication, for comparison')
    parser.add_argument('--port', type=int, help='of the SuperLink (default: one that is free)')
    parser.add_argument('--data-root', metavar='DIR', help="where each client's videos are, with {partition} for its "
                        'number (default: data.root for all)')
    parser.add_argument('--app', type=Path, required=True, help='directory of the Flower app')
    return parser.parse_args()


if __name__ == '__main__':
    sys.exit(run_tool(main))
