# Linear probe of R(2+1)D-18 in place of R3D-18 on HMDB-51, split 1; everything else as in linear_r3d18_hmdb51.py.
#   python tools/evaluate.py linear configs/downstream/linear_r2plus1d18_hmdb51.py --checkpoint WORK_DIR \
#       --protocol fedvssl --cfg-options runtime.device=cuda
# Needs data/hmdb51/annotations.csv (scripts/prepare_hmdb51.py). Result: not run.
_base_ = ['linear_r3d18_hmdb51.py']
model = dict(backbone=dict(type='R2Plus1D18'))
