# Demo: what a backbone of simclr_images.py has learned, on the same generated images: fine-tuning, kNN, retrieval, and
# the linear probe with --protocol cached.
#   python tools/finetune.py configs/demo/classify_images.py --pretrained work_dirs/images
#   python tools/evaluate.py knn configs/demo/classify_images.py --checkpoint work_dirs/images
# Result: not run.
_base_ = ['simclr_images.py']
model = dict(_delete_=True, type='ImageClassifier', backbone=dict(type='Conv4', width=16),
             head=dict(type='ImageHead', num_classes=8),
             data_preprocessor=dict(type='ImagePreprocessor', views='crop', test_views=[[]]))
data = dict(partition=None, batch_size=100)
optim_wrapper = dict(optimizer=dict(lr=0.05))
federation = None
training = dict(epochs=10, evaluate_every=5)
