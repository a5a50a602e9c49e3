"""Video backbones."""
