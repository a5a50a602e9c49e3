# Demo: vcop_fedvssl.py, watched while it trains; the same weights, bit by bit.
#   python tools/fed_train.py configs/demo/vcop_monitored.py --work-dir work_dirs/demo-monitored
# Result (seed 7): all 24 commits and the clients' heads equal those of vcop_fedvssl.py; no warning. Initial weights and
# rounds 5, 10, 15, 20, 24: feature std 0.022, 0.034, 0.078, 0.084, 0.083, 0.084 (1/sqrt(C) = 0.125), RankMe 13.1, 13.3,
# 8.2, 6.6, 7.2, 6.5, kNN (8 classes, n = 200) 10.0, 13.0, 32.5, 31.5, 39.0, 40.5 %.
_base_ = ['vcop_fedvssl.py', '../_base_/monitors/all.py']
