"""Captured motion in; true poses and simulated evidence of them out, to train and to test on.

`amass` and `sources` read motion capture, `takes` chooses cameras for it, `noise` makes evidence
err as the backbone's does.
"""
