# Images on a CPU: SimCLR on 5,000 images of CIFAR-10 (Conv4, 200 steps), in one place and by 3 IID clients at the same
# budget, against random weights; kNN and linear probe on 2,000 test images, three seeds.
#   python tools/compare.py configs/compare/cifar10_conv4.py --work-dir work_dirs/cifar10-conv4 --jobs 2
# Took 25 minutes on two cores beside other work, with data.images.type=PackedImages data.images.train_images=5000
# data.images.test_images=2000 (JPEG copies). Result: 20-NN top-1 of random weights 34.7 ± 1.6 %, central 41.7 ± 1.7,
# FedAvg 40.3 ± 0.2, FedVSSL(0.9, 0) 40.4 ± 0.8; cifar10_conv4.json beside this file.
seeds = [7, 8, 9]
arms = [
    dict(name='random weights', kind='random'),
    dict(name='central', kind='central', config='../pretrain/image/simclr_conv4_cifar10.py'),
    dict(name='FedAvg', kind='federated', config='../pretrain/image/simclr_conv4_cifar10.py'),
    dict(name='FedVSSL(0.9, 0)', kind='federated', config='../pretrain/image/simclr_conv4_cifar10.py',
         options={'strategy': dict(type='FedVSSL', alpha=0.9, beta=0.0)}),
]
evaluations = [
    dict(task='knn', config='../downstream/classify_conv4_cifar10.py'),
    dict(task='linear', config='../downstream/classify_conv4_cifar10.py'),
]
reference = 'random weights'
# One core for each job.
options = {'federation.workers': 1}
