# SimSiam, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 800 epochs
# with the paper's settings for CIFAR (published: 91.8 % linear).
#   python tools/train.py configs/pretrain/image/simsiam_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/simsiam_r18_cifar10.py --cfg-options runtime.device=cuda
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='SimSiam',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', hidden_channels=2048, out_channels=2048, last_norm='plain'),
    predictor=dict(type='MLP', hidden_channels=512),
    data_preprocessor=dict(type='ImagePreprocessor', views='simsiam'),
)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}))
training = dict(
    epochs=800,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       paramwise_cfg=dict(custom_keys={'predictor': dict(fix_lr=True)}),
                       optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=5e-4)),
    schedule=dict(type='CosineSchedule'),
)
