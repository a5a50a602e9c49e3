# Demo: linear probe on the 240 labelled training videos, test on 400, by FedVSSL's protocol in small.
#   python tools/evaluate.py linear configs/demo/linear.py --checkpoint work_dirs/demo --protocol fedvssl
#   python tools/evaluate.py linear configs/demo/linear.py --checkpoint work_dirs/demo --protocol cached
# Result (one core of a busy machine, 6 to 10 min and 25 s, one run each, n = 400): from vcop_fedvssl.py, seed 7, top-1
# 41.8 % by fedvssl and 40.2 % by cached; from random weights 18.2 and 16.5 %. Chance 12.5 %.
# No flip: it would swap two of the classes.
_base_ = ['../_base_/models/tiny_r3d18.py', '../_base_/data/demo.py', '../_base_/schedules/linear_sgd.py']
model = dict(type='LinearProbe', head=dict(type='LinearProbeHead', num_classes=8, init_std=0.001), train_norms=False)
data = dict(
    train=dict(sampler=dict(type='RandomClipSampler', clip_length=8, stride=1)),
    test=dict(sampler=dict(type='MidTickSampler', clip_length=8, stride=1, num_clips=10)),
    batch_size=16,
    test_batch_size=8,
)
training = dict(evaluate_every=50)
