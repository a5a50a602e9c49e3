# The VCOP demo with another strategy, `_base_/strategies/fedema.py`.
#   python tools/fed_train.py configs/demo/strategies/fedema.py --work-dir work_dirs/demo-fedema
# Result: not run.
_base_ = ['../vcop_fedvssl.py', '../../_base_/strategies/fedema.py']
