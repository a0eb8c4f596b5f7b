"""Video in, Motion out."""
