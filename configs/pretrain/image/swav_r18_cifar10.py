# SwAV, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000 epochs
# with solo-learn's settings (published there: 89.17 % linear).
#   python tools/train.py configs/pretrain/image/swav_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/swav_r18_cifar10.py --cfg-options runtime.device=cuda
# 2 views of 32 and 6 of 18 pixels; the queue counts after 5 % of the run.
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='SwAV',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', hidden_channels=2048, out_channels=128),
    num_prototypes=3000,
    queue_size=3840,
    queue_from=0.05,
    freeze=0.002,
    data_preprocessor=dict(type='ImagePreprocessor', views='swav'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       optimizer=dict(type='fedvssl.LARS', lr=0.6, weight_decay=1e-6, trust_coefficient=0.02,
                                      norm_of='separate', clip_lr=True, lr_in_momentum=False)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
