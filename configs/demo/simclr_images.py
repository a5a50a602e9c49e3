# Demo: federated SimCLR on generated images (eight shapes in any colours and places), 3 clients, FedAvg of backbone and
# projector.
#   python tools/fed_train.py configs/demo/simclr_images.py --work-dir work_dirs/images
#   python tools/evaluate.py knn configs/demo/classify_images.py --checkpoint work_dirs/images
#   python tools/evaluate.py linear configs/demo/classify_images.py --checkpoint work_dirs/images
# Result (two cores of a busy machine, 80 s, one run, seed 7, n = 800): linear probe (cached) 44.0 %, random weights
# 30.1 %; kNN-20 22.1 and 21.0 %; chance 12.5 %.
model = dict(
    type='SimCLR',
    backbone=dict(type='Conv4', width=16),
    neck=dict(type='MLP', hidden_channels=64, out_channels=64, last_norm='affine'),
    # Colour must not tell two views of an image, or nothing else is learned; a crop must leave the shape.
    data_preprocessor=dict(type='ImagePreprocessor', views=[[
        dict(type='ResizedCrop', size=32, scale=(0.5, 1.0)),
        dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.5, p=1.0),
        dict(type='Grayscale', p=0.5),
    ]] * 2),
    temperature=0.5,
)
data = dict(
    root='.',
    images=dict(type='GeneratedImages', train_images=2400, test_images=800),
    train=dict(split='train'),
    test=dict(split='test'),
    partition=dict(type='IIDPartitioner', num_clients=3),
    batch_size=100,
    test_batch_size=400,
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.12, momentum=0.9, weight_decay=5e-4))
schedule = dict(type='CosineSchedule')
federation = dict(rounds=10, clients_per_round=3, local_epochs=2, evaluate_every=5, workers=2,
                  strategy=dict(type='FedAvg'))
training = dict(epochs=20, evaluate_every=10)
