# DINO, ResNet-18 for 32 pixels, CIFAR-10: by 5 clients in 100 rounds of 5 epochs, or in one place for 1000 epochs
# with solo-learn's settings (published there: 89.52 % linear).
#   python tools/train.py configs/pretrain/image/dino_r18_cifar10.py --cfg-options runtime.device=cuda
#   python tools/fed_train.py configs/pretrain/image/dino_r18_cifar10.py --cfg-options runtime.device=cuda
# 2 views of 32 and 6 of 18 pixels.
# Result: not run.
_base_ = ['../../_base_/data/cifar10.py', '../../_base_/federation/five_clients.py']
model = dict(
    type='DINO',
    backbone=dict(type='ResNetCIFAR', depth=18),
    neck=dict(type='MLP', num_layers=3, hidden_channels=2048, out_channels=256, norm=False, activation='gelu'),
    num_prototypes=4096,
    warmup=0.03,
    freeze=0.001,
    ema_decay=0.9995,
    data_preprocessor=dict(type='ImagePreprocessor', views='dino'),
)
training = dict(
    epochs=1000,
    batch_size=256,
    optim_wrapper=dict(type='OptimWrapper',
                       clip_grad=dict(max_norm=3.0),
                       optimizer=dict(type='fedvssl.LARS', lr=0.3, weight_decay=1e-6, trust_coefficient=0.02,
                                      norm_of='separate', clip_lr=True, lr_in_momentum=False)),
    schedule=dict(type='CosineSchedule', warmup=0.01),
)
