# CIFAR-10 from the official archive cifar-10-python.tar.gz, or the directory in it. Other sources, on the command line:
#   data.images.classes=100    data.images.type=NPZ    data.images.type=ImageFolder    data.images.type=PackedImages
data = dict(
    root='data/cifar10',
    images=dict(type='CIFAR', classes=10),
    train=dict(split='train'),
    test=dict(split='test'),
    partition=dict(type='IIDPartitioner', num_clients=5),
    batch_size=128,
    test_batch_size=500,
)
