# Linear probe of R3D-18 on HMDB-51, split 1, by FedVSSL's protocol: clips and test of the fine-tuning, frozen backbone.
#   python tools/evaluate.py linear configs/downstream/linear_r3d18_hmdb51.py --checkpoint WORK_DIR \
#       --protocol fedvssl --cfg-options runtime.device=cuda
# On features extracted once instead: --protocol cached.
# Needs data/hmdb51/annotations.csv (scripts/prepare_hmdb51.py). Result: not run.
_base_ = [
    '../_base_/models/linear_r3d18.py',
    '../_base_/data/finetune_16x112.py',
    '../_base_/data/hmdb51.py',
    '../_base_/schedules/linear_sgd.py',
]
model = dict(head=dict(num_classes=51))
data = dict(workers=4)
