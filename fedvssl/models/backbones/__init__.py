"""Backbones: networks for videos, and for small images."""
