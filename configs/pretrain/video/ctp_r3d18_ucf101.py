# CtP on UCF-101, split 1, R3D-18, 16x112x112, across 5 silos, in the setting of Flower's FedVSSL baseline: all in each
# of 20 rounds of one epoch, SGD with momentum, FedVSSL(0.9, 1); or in one place: 300 epochs.
#   python tools/fed_train.py configs/pretrain/video/ctp_r3d18_ucf101.py --cfg-options runtime.device=cuda
#   python tools/train.py configs/pretrain/video/ctp_r3d18_ucf101.py --cfg-options runtime.device=cuda
# Needs data/ucf101/annotations.csv (path,label,split). Result: not run.
_base_ = ['ctp_r3d18_k400.py']
data = dict(root='data/ucf101', partition=dict(num_clients=5))
optim_wrapper = dict(optimizer=dict(momentum=0.9))
federation = dict(rounds=20, strategy=dict(beta=1.0))
training = dict(epochs=300)
