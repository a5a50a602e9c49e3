"""Augmentations of a batch of images on its device, every image by parameters of its own, and each method's views."""
