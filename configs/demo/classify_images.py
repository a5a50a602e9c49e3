# Demo: what a backbone of simclr_images.py has learned, on the same generated images: fine-tuning, kNN, retrieval, and
# the linear probe with --protocol cached.
#   python tools/finetune.py configs/demo/classify_images.py --pretrained work_dirs/images
#   python tools/evaluate.py knn configs/demo/classify_images.py --checkpoint work_dirs/images
# Result (one run, seed 7, n = 800): kNN and linear probe in simclr_images.py; fine-tuned on all 2,400 labels 50.3 %,
# from scratch 73.9 %: with as many labels as that, so short a pretraining is in the way.
_base_ = ['simclr_images.py']
model = dict(_delete_=True, type='ImageClassifier', backbone=dict(type='Conv4', width=16),
             head=dict(type='ImageHead', num_classes=8),
             data_preprocessor=dict(type='ImagePreprocessor', views='crop', test_views=[[]]))
data = dict(partition=None, batch_size=100)
optim_wrapper = dict(optimizer=dict(lr=0.05))
federation = None
training = dict(epochs=10, evaluate_every=5)
