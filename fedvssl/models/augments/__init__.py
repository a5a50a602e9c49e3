"""Batch augmentations: run on the device, each sample by draws of its own."""
