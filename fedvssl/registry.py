"""Child registries of mmengine's, scope ``fedvssl``.

A class meets a config only through ``Registry.build(dict(type=...))``. Pieces of other OpenMMLab packages keep their
scope in the config: ``type='mmaction.I3DHead'``. `VIDEO_READERS`-like tables that need no config stay plain functions.
"""

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = 'fedvssl'


def _child(name: str, parent: Registry, location: str) -> Registry:
    return Registry(name, parent=parent, scope=SCOPE, locations=[location])


MODELS = _child('model', root.MODELS, 'fedvssl.models')
DATASETS = _child('dataset', root.DATASETS, 'fedvssl.data')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'fedvssl.data')
HOOKS = _child('hook', root.HOOKS, 'fedvssl.training')
SCHEDULES = _child('parameter scheduler', root.PARAM_SCHEDULERS, 'fedvssl.training')

# What mmengine has no registry for.
SAMPLERS = Registry('clip sampler', scope=SCOPE, locations=['fedvssl.data'])
PARTITIONERS = Registry('partitioner', scope=SCOPE, locations=['fedvssl.data'])
STRATEGIES = Registry('strategy', scope=SCOPE, locations=['fedvssl.federated'])
