# Linear probe of R3D-18 on UCF-101, split 1, by FedVSSL's protocol: clips and test of the fine-tuning, frozen backbone.
#   python tools/evaluate.py linear configs/downstream/linear_r3d18_ucf101.py --checkpoint WORK_DIR \
#       --protocol fedvssl --cfg-options runtime.device=cuda
# On features extracted once instead: --protocol cached.
# Needs data/ucf101/annotations.csv (scripts/prepare_ucf101.py). Result: not run.
_base_ = [
    '../_base_/models/linear_r3d18.py',
    '../_base_/data/finetune_16x112.py',
    '../_base_/data/ucf101.py',
    '../_base_/schedules/linear_sgd.py',
]
model = dict(head=dict(num_classes=101))
data = dict(workers=4)
