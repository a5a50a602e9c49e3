# What a backbone of simclr_conv4_cifar10.py has learned, on the same images: kNN, the linear probe (--protocol cached),
# fine-tuning.
#   python tools/evaluate.py knn configs/downstream/classify_conv4_cifar10.py --checkpoint work_dirs/simclr
# Result: in configs/compare/cifar10_conv4.py, which runs it against its points of reference.
_base_ = ['../_base_/data/cifar10.py']
model = dict(type='ImageClassifier', backbone=dict(type='Conv4'), head=dict(type='ImageHead', num_classes=10),
             data_preprocessor=dict(type='ImagePreprocessor', views='crop', test_views=[[]]))
data = dict(images=dict(train_images=5000, test_images=2000), partition=None, batch_size=128)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
schedule = dict(type='CosineSchedule')
training = dict(epochs=20, evaluate_every=10)
