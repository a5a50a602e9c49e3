# Speed on UCF-101, split 1, R3D-18, 16x112x112, across 5 silos, in the setting of Flower's FedVSSL baseline: all in
# each of 20 rounds of one epoch, SGD with momentum, FedVSSL(0.9, 1); or in one place: 300 epochs.
# The baseline has CtP only.
#   python tools/fed_train.py configs/pretrain/video/speed_r3d18_ucf101.py --cfg-options runtime.device=cuda
#   python tools/train.py configs/pretrain/video/speed_r3d18_ucf101.py --cfg-options runtime.device=cuda
# Needs data/ucf101/annotations.csv (scripts/prepare_ucf101.py). Result: not run.
_base_ = [
    '../../_base_/models/speed_r3d18.py',
    '../../_base_/data/speed_16x112.py',
    '../../_base_/data/ucf101.py',
    '../../_base_/federation/silos.py',
    '../../_base_/schedules/federated_sgd.py',
    '../../_base_/schedules/central_sgd.py',
]
data = dict(workers=4)
optim_wrapper = dict(optimizer=dict(momentum=0.9))
training = dict(epochs=300)
