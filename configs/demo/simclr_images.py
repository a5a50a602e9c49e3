# Demo: federated SimCLR on generated images (eight shapes in any colours and places), 3 clients, FedAvg of backbone and
# projector.
#   python tools/fed_train.py configs/demo/simclr_images.py --work-dir work_dirs/images
#   python tools/evaluate.py knn configs/demo/classify_images.py --checkpoint work_dirs/images
#   python tools/finetune.py configs/demo/classify_images.py --pretrained work_dirs/images
# Result: not run.
model = dict(
    type='SimCLR',
    backbone=dict(type='Conv4', width=16),
    neck=dict(type='MLP', hidden_channels=64, out_channels=64, last_norm='affine'),
    data_preprocessor=dict(type='ImagePreprocessor', views='simclr'),
    temperature=0.5,
)
data = dict(
    root='.',
    images=dict(type='GeneratedImages', train_images=2400, test_images=800),
    train=dict(split='train'),
    test=dict(split='test'),
    partition=dict(type='IIDPartitioner', num_clients=3),
    batch_size=200,
    test_batch_size=400,
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.12, momentum=0.9, weight_decay=5e-4))
schedule = dict(type='CosineSchedule')
federation = dict(rounds=10, clients_per_round=3, local_epochs=2, evaluate_every=5, workers=2,
                  strategy=dict(type='FedAvg'))
training = dict(epochs=20, evaluate_every=10)
