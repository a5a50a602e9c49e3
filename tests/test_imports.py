"""Imports go one way, and cost nothing where they need not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / 'fedvssl'

# Left to right, as in fedvssl/README.md; a module imports only from its own level or from the left.
ORDER = [['errors', 'findings'], ['sections'],
         ['compat', 'inert', 'registry', 'rng', 'commit', 'config', 'environment', 'installation'],
         ['cli'], ['video'], ['data'], ['models'],
         ['training'], ['weights'], ['state'], ['federated', 'evaluation', 'pretraining'], ['report', 'benchmarks'],
         ['compare']]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def imported(file: Path):
    """Yields the fedvssl modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f'{node.module}.{alias.name}' if node.module == 'fedvssl' else node.module for alias in node.names]
        else:
            continue
        yield from (name.split('.')[1] for name in names if name.startswith('fedvssl.'))


@pytest.mark.parametrize('file', sorted(PACKAGE.rglob('*.py')), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_one_way(file):
    own = file.relative_to(PACKAGE).parts[0].removesuffix('.py')
    if own == '__init__':
        assert not list(imported(file))
        return
    for other in imported(file):
        apart = {own, other} <= {'federated', 'evaluation', 'pretraining'}
        same_room = other == own or {own, other} <= set(ORDER[LEVEL[own]]) and not apart
        lazy = own == 'config' and other == 'registry'
        assert LEVEL[other] < LEVEL[own] or same_room or lazy, f'{own} must not import {other}'


def loaded_after(statement):
    code = f'import sys; {statement}; print(" ".join(sys.modules))'
    return set(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_is_cheap():
    assert not {'torch', 'mmengine', 'flwr', 'cv2', 'numpy', 'av'} & loaded_after('import fedvssl')


def test_the_video_package_loads_no_decoder():
    assert not {'av', 'decord', 'torch'} & loaded_after('import fedvssl.video')


def test_nothing_needs_torchvision():
    statement = ("sys.modules['torchvision'] = None; import fedvssl.federated.run, fedvssl.evaluation.finetune, "
                 'fedvssl.pretraining, fedvssl.models, fedvssl.data.synthetic')
    loaded_after(statement)


@pytest.mark.parametrize('tool', sorted(Path(__file__).parent.parent.glob('tools/*.py')), ids=lambda tool: tool.name)
def test_help_of_every_tool_needs_no_heavy_import(tool):
    run = subprocess.run([sys.executable, '-X', 'importtime', str(tool), '--help'], capture_output=True, text=True)
    assert run.returncode == 0 and 'usage' in run.stdout
    assert '| torch\n' not in run.stderr
