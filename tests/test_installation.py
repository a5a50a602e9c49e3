"""Rules about an installation, each on made-up facts; then the real one; then imports that raise, die and hang."""

import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from fedvssl.findings import Severity
from fedvssl.installation import check, check_installation, describe_installation, machine, packages, probes

HEALTHY = {'torch': '2.13.0+cpu', 'mmcv-lite': '2.1.0', 'decord': '0.6.0', 'opencv-python': '5.0.0.93',
           'opencv-contrib-python': '5.0.0.93', 'pillow': '13.0.0', 'protobuf': '6.33.6', 'flwr': '1.41.0'}
REQUIRED = [Requirement(line) for line in ('torch>=2.10', 'mmcv-lite>=2.0.1,<2.2', 'decord>=0.6', 'flwr>=1.32,<2')]


def found(findings):
    """What tests compare: severity, kind and subject."""
    return [(finding.severity.value, finding.kind, finding.subject) for finding in findings]


def install(root: Path, name: str, version: str, **files: str):
    """Fakes a distribution on a search path, with the hashes of its files as an installer records them."""
    info = root / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    record = []
    for file, text in files.items():
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text(text)
        digest = urlsafe_b64encode(sha256(text.encode()).digest()).decode().rstrip('=')
        record.append(f'{file},sha256={digest},{len(text)}')
    (info / 'RECORD').write_text('\n'.join(record))


def rules(versions):
    return [*packages.check_overlaps(REQUIRED, versions), *packages.check_opencv(versions, None),
            *packages.check_requirements(REQUIRED, versions), *packages.check_holes(versions)]


def test_nothing_is_wrong_with_a_healthy_set_of_versions():
    assert rules(HEALTHY) == []


@pytest.mark.parametrize(('change', 'expected'), [
    ({'torch': None}, ('error', 'missing', 'torch')),
    ({'torch': '2.9.1+cu128'}, ('error', 'version', 'torch')),
    ({'torch': 'built-by-hand'}, ('error', 'version', 'torch')),
    ({'mmcv-lite': '2.2.0'}, ('error', 'version', 'mmcv-lite')),
    ({'flwr': '1.31.0'}, ('error', 'version', 'flwr')),
    ({'flwr': '2.0.0'}, ('error', 'version', 'flwr')),
    ({'mmcv': '2.1.0'}, ('error', 'overlap', 'mmcv-lite')),
    ({'mmcv-full': '1.7.2'}, ('error', 'overlap', 'mmcv-lite')),
    ({'decord2': '3.4.0'}, ('warning', 'overlap', 'decord')),
    ({'eva-decord': '0.6.1'}, ('warning', 'overlap', 'decord')),
    ({'opencv-python': '4.12.0.88'}, ('warning', 'overlap', 'opencv-python')),
    ({'opencv-python-headless': '5.0.0.93'}, ('warning', 'overlap', 'opencv-python')),
    ({'ray': '2.51.1'}, ('error', 'vulnerable', 'ray')),
    ({'ray': '2.52.0'}, None),
    ({'pillow': '12.3.0'}, ('warning', 'vulnerable', 'pillow')),
    ({'protobuf': '6.33.4'}, ('warning', 'vulnerable', 'protobuf')),
    ({'protobuf': '5.29.5'}, ('warning', 'vulnerable', 'protobuf')),
    ({'protobuf': '5.29.6'}, None),
    ({'opencv-python': None}, None),
    ({'torch': '2.14.0.dev20261120+cpu'}, None),
])
def test_one_change_to_a_healthy_set_of_versions(change, expected):
    versions = {name: version for name, version in {**HEALTHY, **change}.items() if version is not None}
    assert found(rules(versions)) == ([expected] if expected else [])


def test_remedies_are_commands_for_the_range_that_is_needed():
    overlap, = packages.check_overlaps(REQUIRED, {**HEALTHY, 'mmcv': '2.2.0'})
    assert overlap.remedy == 'pip uninstall -y mmcv mmcv-lite, then pip install "mmcv-lite<2.2,>=2.0.1"'
    opencv, = packages.check_opencv({'opencv-python': '4.9.0.80', 'opencv-python-headless': '4.10.0.8'}, None)
    assert opencv.remedy.endswith('then pip install opencv-python==4.10.0.8 opencv-contrib-python==4.10.0.8')
    hole, = packages.check_holes({'ray': '2.51.1'})
    assert 'CVE-2025-62593' in hole.message and hole.remedy == 'pip install "ray>=2.52"'


def test_the_core_needs_neither_torchvision_nor_an_extra():
    lines = ['torch>=2.10', 'torchcodec>=0.13; extra == "gpu"', 'nothing; python_version < "3"']
    assert [requirement.name for requirement in packages.hard_requirements(lines)] == ['torch']


def test_versions_are_read_from_the_search_path_and_leftovers_passed_over(tmp_path):
    install(tmp_path, 'MMCV_Lite', '2.1.0')
    (tmp_path / 'torch-2.9.0.dist-info').mkdir()
    (tmp_path / 'av-1.dist-info').mkdir()
    (tmp_path / 'av-1.dist-info/METADATA').write_bytes(b'Name: av\nVersion: \xff')
    assert packages.installed_versions([str(tmp_path)]) == {'mmcv-lite': '2.1.0'}


def test_which_opencv_remained(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    versions = {'opencv-python': '4.9.0.80', 'opencv-python-headless': '4.12.0.88'}
    install(tmp_path, 'opencv-python', '4.9.0.80', **{'cv2/version.py': 'headless = False'})
    install(tmp_path, 'opencv-python-headless', '4.12.0.88', **{'cv2/version.py': 'headless = True'})
    assert packages.opencv_in_place(versions) == 'opencv-python-headless'
    finding, = packages.check_opencv(versions, packages.opencv_in_place(versions))
    assert 'those of opencv-python-headless remained' in finding.message
    (tmp_path / 'cv2/version.py').write_text('neither')
    assert packages.opencv_in_place(versions) is None
    (tmp_path / 'cv2/version.py').unlink()
    assert packages.opencv_in_place(versions) is None


def test_python():
    assert packages.check_python('3.11.7', '>=3.11') == []
    assert found(packages.check_python('3.10.14', '>=3.11')) == [('error', 'version', 'Python')]


def test_directories(tmp_path):
    def usable():
        return machine.check_directory('here', lambda: tmp_path, Severity.ERROR)

    def gone():
        return machine.check_directory('here', lambda: tmp_path / 'gone', Severity.WARNING)

    assert not [finding for finding in usable() if finding.kind != 'space']  # the disk may really be full
    assert list(tmp_path.iterdir()) == []
    assert found(gone()) == [('warning', 'not-writable', 'here')]


def test_a_directory_that_cannot_even_be_named():
    def locate():
        raise FileNotFoundError('No usable temporary directory found')

    assert found(machine.check_directory('tmp', locate, Severity.ERROR)) == [('error', 'not-writable', 'tmp')]


@pytest.mark.parametrize(('findings', 'expected'), [
    (machine.check_space('here', 2**30), []),
    (machine.check_space('here', 2**30 - 1), [('warning', 'space', 'here')]),
    (machine.check_open_files(256), []),
    (machine.check_open_files(-1), []),
    (machine.check_open_files(255), [('warning', 'limit', 'open files')]),
    (machine.check_encodings('utf-8', 'UTF-8'), []),
    (machine.check_encodings('utf-8', 'ANSI_X3.4-1968'), [('warning', 'encoding', 'text files')]),
    (machine.check_encodings('ascii', 'UTF8'), [('warning', 'encoding', 'file names')]),
    (machine.check_variables({}), []),
    (machine.check_variables({'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '0'}), []),
    (machine.check_variables({'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': 'Yes'}),
     [('warning', 'unpickling', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')]),
])
def test_the_machine(findings, expected):
    assert found(findings) == expected


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Puts modules that are fine, raise, end the process, crash and hang on the search path."""
    sources = dict(
        fine='print("chatter" * 99999)',
        raises='raise OSError("libnowhere.so.1: cannot open shared object file")',
        lacks='import a_module_that_is_nowhere',
        panics='class Panic(BaseException): pass\nraise Panic("two\\nlines")',
        leaves='import os; os.write(2, b"FATAL ERROR: no luck\\n"); os._exit(0)',
        crashes='import os, resource, signal; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); '
                'os.kill(os.getpid(), signal.SIGSEGV)',
        hangs='import time; time.sleep(600)',
        late='import atexit, time; atexit.register(time.sleep, 600)')
    for name, source in sources.items():
        (tmp_path / f'{name}.py').write_text(source)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(('name', 'message', 'remedy'), [
    ('raises', 'OSError: libnowhere.so.1: cannot open', 'install the system library that it names, or pip install'),
    ('lacks', "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'", 'pip install "lacks>=1", which'),
    ('panics', 'Panic: two lines', 'pip install --force-reinstall'),
    ('leaves', 'ends the process (exit code 0), saying: FATAL ERROR: no luck', 'pip install --force-reinstall'),
    ('crashes', 'ends the process (killed by SIGSEGV)', 'pip install --force-reinstall'),
])
@pytest.mark.usefixtures('modules')
def test_an_import_that_fails_is_one_finding_and_the_next_is_tried(name, message, remedy):
    requirements = [Requirement(text) for text in ('fine', f'{name}>=1', 'late')]
    finding, = packages.check_usable(requirements, deadline=60)
    assert found([finding]) == [('error', 'unusable', name)]
    assert finding.message.startswith(message) and finding.remedy.startswith(remedy)


@pytest.mark.usefixtures('modules')
def test_an_import_that_hangs_is_given_up():
    start = time.monotonic()
    finding, = packages.check_usable([Requirement('hangs')], deadline=0.5)
    assert time.monotonic() - start < 60
    assert found([finding]) == [('error', 'unusable', 'hangs')] and finding.message == 'hangs: no end within 0.5 s'


def test_what_a_failure_leaves_behind_does_not_meet_the_next(tmp_path, monkeypatch):
    (tmp_path / 'spoils.py').write_text('import os; os.environ["SPOILT"] = "yes"; raise OSError')
    (tmp_path / 'suffers.py').write_text('import os; assert "SPOILT" not in os.environ')
    monkeypatch.syspath_prepend(tmp_path)
    failures = [outcome.failure for outcome in probes.try_in_children(['spoils', 'suffers'], 60)]
    assert failures == ['OSError:', None]


def test_what_was_done_before_a_hang_is_not_blamed(monkeypatch):
    def run(*args, timeout, **kwargs):
        raise subprocess.TimeoutExpired('python', timeout, output=b'{"failure": null, "value": {"a": 1}}\n')

    monkeypatch.setattr(subprocess, 'run', run)
    assert probes._try_until_failure(['good', 'bad', 'not tried'], 7) == [
        probes.Outcome(None, {'a': 1}), probes.Outcome('hangs: no end within 7 s')]


def test_an_extra_that_does_not_load_is_a_warning(tmp_path, monkeypatch):
    (tmp_path / 'torchcodec').mkdir()
    (tmp_path / 'torchcodec/__init__.py').write_text('raise RuntimeError("Could not load libtorchcodec")')
    monkeypatch.syspath_prepend(tmp_path)
    assert found(packages.check_usable([Requirement('torchcodec')], 60)) == [('warning', 'unusable', 'torchcodec')]


def test_a_codec_that_confuses_colours_is_noticed(monkeypatch):
    probes.reencode()
    decoded = probes._decoded
    monkeypatch.setattr(probes, '_decoded', lambda file: decoded(file)[..., ::-1])
    with pytest.raises(probes.WrongResultError, match='of 255 off'):
        probes.reencode()
    monkeypatch.setattr(probes, '_decoded', lambda file: decoded(file)[1:])
    with pytest.raises(probes.WrongResultError, match=r'\(3, 48, 64, 3\) were decoded'):
        probes.reencode()


@pytest.mark.parametrize('factor', [0.5, np.nan])
def test_a_convolution_that_is_wrong_is_noticed(monkeypatch, factor):
    import torch

    probes.convolve()
    conv3d = torch.nn.functional.conv3d
    monkeypatch.setattr(torch.nn.functional, 'conv3d', lambda x, weight: factor * conv3d(x, weight))
    with pytest.raises(probes.WrongResultError, match='instead of 54'):
        probes.convolve()


def test_without_packaging_the_check_says_so_and_goes_on(monkeypatch):
    for name in ('packaging', 'packaging.requirements'):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    findings = found(check_installation())
    assert ('error', 'missing', 'packaging') in findings and findings[-1][:2] == ('warning', 'unpickling')


def test_an_uninstalled_fedvssl_is_a_finding(monkeypatch):
    def metadata(name):
        raise check.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(check.importlib.metadata, 'metadata', metadata)
    findings, required = check._own_requirements()
    assert found(findings) == [('error', 'missing', 'fedvssl')] and required == []


def test_this_installation_is_healthy():
    assert [str(finding) for finding in check_installation() if finding.severity is Severity.ERROR] == []


def test_every_requirement_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(packages, 'try_in_children', lambda targets, _: tried.extend(targets) or
                        [probes.Outcome(None)] * len(targets))
    check_installation()
    assert {'numpy', 'mmengine', 'decord', 'fedvssl.installation.probes:reencode'} <= set(tried)


def test_the_description_names_versions_and_hardware():
    text = '\n'.join(describe_installation())
    assert all(word in text for word in ('Python 3', 'torch 2', 'cores', 'GPU: '))


@pytest.mark.usefixtures('modules')
def test_a_torch_that_crashes_leaves_a_description(tmp_path):
    (tmp_path / 'torch.py').write_text('import crashes')
    assert 'killed by SIGSEGV' in describe_installation()[-1]


def test_importing_the_check_imports_nothing_that_it_checks():
    code = 'import sys, fedvssl.installation; print(" ".join(sys.modules))'
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert not {'torch', 'numpy', 'av', 'packaging', 'mmengine'} & set(loaded)
