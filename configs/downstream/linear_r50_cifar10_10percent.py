# The second half of Flower's SimCLR example: a linear layer on the frozen ResNet-50, 20 epochs of Adam on 10 % of the
# labels, tested on all test images.
#   python tools/finetune.py configs/downstream/linear_r50_cifar10_10percent.py --pretrained WORK_DIR
# Result: not run.
_base_ = ['../_base_/data/cifar10.py']
model = dict(type='ImageLinearProbe', backbone=dict(type='ResNetCIFAR', depth=50),
             head=dict(type='ImageHead', num_classes=10),
             data_preprocessor=dict(type='ImagePreprocessor', mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0]))
data = dict(partition=None, batch_size=512)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=3e-4))
schedule = dict(type='ConstantSchedule')
training = dict(epochs=20, evaluate_every=20, label_fraction=0.1)
