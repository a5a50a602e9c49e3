# SimCLR for a CPU: Conv4 (241 k parameters) on 5,000 images of CIFAR-10, 190 steps; and the same by 3 clients, 5 rounds
# of 2 local epochs.
#   python tools/train.py configs/pretrain/image/simclr_conv4_cifar10.py --work-dir work_dirs/simclr
#   python tools/fed_train.py configs/pretrain/image/simclr_conv4_cifar10.py --work-dir work_dirs/fedsimclr
#   python tools/evaluate.py knn configs/downstream/classify_conv4_cifar10.py --checkpoint work_dirs/simclr
# Result: in configs/compare/cifar10_conv4.py, which runs it against its points of reference.
_base_ = ['../../_base_/data/cifar10.py']
model = dict(
    type='SimCLR',
    backbone=dict(type='Conv4'),
    neck=dict(type='MLP', out_channels=128, last_norm='affine'),
    data_preprocessor=dict(type='ImagePreprocessor', views='simclr'),
    temperature=0.5,
)
data = dict(images=dict(train_images=5000, test_images=2000), partition=dict(num_clients=3),
            batch_size=256)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.12, momentum=0.9, weight_decay=5e-4))
schedule = dict(type='CosineSchedule')
federation = dict(rounds=5, clients_per_round=3, local_epochs=2, workers=1, strategy=dict(type='FedAvg'))
training = dict(epochs=10)
