# VCOP on Kinetics-400 with R(2+1)D-18 in place of R3D-18; everything else as in vcop_r3d18_k400.py.
#   python tools/fed_train.py configs/pretrain/video/vcop_r2plus1d18_k400.py --cfg-options runtime.device=cuda
#   python tools/train.py configs/pretrain/video/vcop_r2plus1d18_k400.py --cfg-options runtime.device=cuda
# Needs data/kinetics400/annotations.csv (scripts/prepare_kinetics400.py). Result: not run.
_base_ = ['vcop_r3d18_k400.py']
model = dict(backbone=dict(type='R2Plus1D18'))
