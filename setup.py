"""Packaging of fedvssl; tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'fedvssl/__init__.py').read_text()).group(1)

setup(
    name='fedvssl',
    version=VERSION,
    description='Federated self-supervised learning on video and images',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['fedvssl', 'fedvssl.*']),
    install_requires=[
        'torch>=2.10',
        'numpy>=1.26',
        'mmengine>=0.10.7,<0.11',
        'mmcv-lite>=2.0.1,<2.2',
        'mmaction2==1.2.0',
        'importlib_metadata',  # mmaction2 imports it without declaring it
        'flwr>=1.32,<2',
        'decord>=0.6',
        'av>=14',
        'safetensors>=0.5',
        'rich>=13',
        'scipy',  # a dependency of mmaction2; Student's t in the comparison table
    ],
    extras_require={
        'ray': ['flwr[simulation]>=1.32,<2'],
        # 0.13 beside a CPU build of torch, a later one beside a CUDA build; FFmpeg's shared libraries are not in it
        'gpu': ['torchcodec>=0.13'],
        'tb': ['tensorboard'],
        'plots': ['scikit-learn', 'matplotlib'],
        'dev': ['pytest>=8', 'pytest-xdist', 'hypothesis', 'ruff', 'mypy'],
    },
)
