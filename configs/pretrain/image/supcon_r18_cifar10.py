# SupCon, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000 epochs
# with solo-learn's settings (published there: 93.82 % linear).
#   python tools/train.py configs/pretrain/image/supcon_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/supcon_r18_cifar10.py --cfg-options runtime.device=cuda
# It learns from labels, which the clients then see.
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='SupCon',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', out_channels=128, norm=False),
    temperature=0.2,
    data_preprocessor=dict(type='ImagePreprocessor', views='supcon'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       optimizer=dict(type='SGD', lr=0.4, momentum=0.9, weight_decay=1e-5)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
