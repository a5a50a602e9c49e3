# What a ResNet-18 pretrained on CIFAR-10 has learned: kNN, linear probe (--protocol cached), fine-tuning.
#   python tools/evaluate.py knn configs/downstream/classify_r18_cifar10.py --checkpoint WORK_DIR
#   python tools/evaluate.py linear configs/downstream/classify_r18_cifar10.py --checkpoint WORK_DIR
#   python tools/finetune.py configs/downstream/classify_r18_cifar10.py --pretrained WORK_DIR \
#       --cfg-options training.label_fraction=0.01
# Result: not run.
_base_ = ['../_base_/data/cifar10.py']
model = dict(type='ImageClassifier', backbone=dict(type='ResNetCIFAR', depth=18),
             head=dict(type='ImageHead', num_classes=10),
             data_preprocessor=dict(type='ImagePreprocessor', views='crop', test_views=[[]]))
data = dict(partition=None, batch_size=128)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
schedule = dict(type='CosineSchedule')
training = dict(epochs=100, evaluate_every=10)
