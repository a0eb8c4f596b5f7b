"""Solved rotations of one track in; a smooth person in front of the camera out.

`camera` has the focal length, `smoothing` smooths evidence, rotations and paths, `placing` finds
the root and corrects the pose by the picture, `path` says how near the person came when, `person`
does all of it in order.
"""
