"""``tools/convert_checkpoint.py`` and ``tools/finetune.py --pretrained`` as a user meets them."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from fedvssl.cli import run_tool
from fedvssl.commit import write_commit
from fedvssl.config import from_dict
from fedvssl.evaluation.finetune import FineTuning
from fedvssl.models.backbones.r3d import R3D18
from fedvssl.weights.layouts import find_layout
from tests.conftest import tiny_finetuning_values

TOOL = Path(__file__).parent.parent.parent / 'tools/convert_checkpoint.py'


@pytest.fixture
def convert(monkeypatch, capsys):
    """Runs the tool in this process and returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, arguments)])
        code = run_tool(runpy.run_path(str(TOOL))['main'])
        return code, *capsys.readouterr()

    return run


def test_a_published_file(convert, tmp_path):
    state = R3D18(base_channels=4).state_dict()
    np.savez(tmp_path / 'round-540-weights.array.npz', *[tensor.numpy() for tensor in state.values()])
    out = tmp_path / 'x.safetensors'
    code, report, err = convert(tmp_path / 'round-540-weights.array.npz', out)
    assert (code, err) == (0, '')
    assert report.splitlines() == [
        'R3D-18 of width 4, laid out as the R3D-18 of CtP',
        'matched 120, missing 0, unexpected 0',
        '120 arrays without names, named by their order: R3D-18 of width 4, and no head',
        'batch norm: networks of fedvssl and CtP, unless built otherwise (mmaction2: 1e-5), have eps 1e-3, the default '
        'of fedvssl too',
        f'wrote {out}: 120 tensors under the names of fedvssl, {out.stat().st_size} bytes']
    assert all(load_file(out)[f'backbone.{name}'].equal(tensor) for name, tensor in state.items())

    code, _, err = convert(tmp_path / 'round-540-weights.array.npz', out)
    assert code == 2 and err.startswith(f'error: {out}: is there already')
    assert convert(out, out, '--force')[0] == 0


def test_a_work_directory(convert, tmp_path):
    state = {f'backbone.{name}': tensor for name, tensor in R3D18(base_channels=4).state_dict().items()}
    write_commit(tmp_path / 'run/rounds/round-000001', {'global.safetensors': save(state)})
    code, report, _ = convert(tmp_path / 'run', tmp_path / 'x.pth', '--to', 'torchvision')
    assert code == 0 and 'matched 120' in report and 'strict=False' in report
    assert list(torch.load(tmp_path / 'x.pth', weights_only=True))[0] == 'stem.0.weight'


def test_refusals(convert, tmp_path):
    np.savez(tmp_path / 'x.npz', np.array([print]))
    code, _, err = convert(tmp_path / 'x.npz', tmp_path / 'x.pth')
    assert code == 7 and 'names builtins.print' in err and 'nothing in it was executed' in err
    assert convert(tmp_path / 'none.npz', tmp_path / 'x.pth')[0] == 7
    assert convert(tmp_path / 'x.npz', tmp_path / 'x.onnx')[0] == 2
    assert not (tmp_path / 'x.pth').exists()


@pytest.mark.parametrize('form', ['npz', 'ctp', 'torchvision'])
def test_finetuning_takes_foreign_files_as_they_are(tiny_videos, tmp_path, form):
    backbone = R3D18(base_channels=4)
    state, file = backbone.state_dict(), tmp_path / f'x.{"npz" if form == "npz" else "pth"}'
    if form == 'npz':
        np.savez(file, *[tensor.numpy() for tensor in state.values()], np.ones(3), np.ones(3))
    else:
        layout = find_layout('R3D18', form)
        torch.save({layout.from_ours(name): tensor for name, tensor in state.items()}, file)
    job = FineTuning(from_dict(tiny_finetuning_values(tiny_videos)))
    assert len(job.load(str(file)).matched) == 120
    loaded = job.trainer.model.backbone.state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in state.items())
