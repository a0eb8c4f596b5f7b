"""The authors' own networks of HybrIK and NIKI, for checkpoints that users bring.

`importing` turns a checkpoint into safetensors, `hybrik_network` and `niki_network` hold the
networks, `hybrik_evidence` is HybrIK as a backbone.
"""
