# VCOP on Kinetics-400, R3D-18, 16x112x112, as published: 100 clients, 5 a round, 540 rounds of one epoch, SGD without
# momentum; or in one place: 90 epochs with momentum.
#   python tools/fed_train.py configs/pretrain/video/vcop_r3d18_k400.py --cfg-options runtime.device=cuda
#   python tools/train.py configs/pretrain/video/vcop_r3d18_k400.py --cfg-options runtime.device=cuda
# Clients of 8 classes, each video on one of them (_base_/data/kinetics400.py). Needs data/kinetics400/annotations.csv
# (scripts/prepare_kinetics400.py). Result: not run; no time is known for these commands (the authors' README says
# about a day on six RTX 3090 for theirs).
_base_ = [
    '../../_base_/models/vcop_r3d18.py',
    '../../_base_/data/vcop_16x112.py',
    '../../_base_/data/kinetics400.py',
    '../../_base_/federation/cross_device.py',
    '../../_base_/schedules/federated_sgd.py',
    '../../_base_/schedules/central_sgd.py',
]
data = dict(workers=4)
optim_wrapper = dict(optimizer=dict(lr=0.001))
training = dict(optim_wrapper=dict(optimizer=dict(lr=0.001)))
