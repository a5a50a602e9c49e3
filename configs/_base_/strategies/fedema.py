# FedEMA: each client starts from a mixture of the global model and its own last one. Its scale sets itself, so that the
# share of its own is 0.7 the second time, as published (autoscaler).
strategy = dict(type='FedEMA', target=0.7)
