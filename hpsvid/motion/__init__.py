"""Solved rotations of one track in; a smooth person in front of the camera out; then the ground.

`camera` has the focal length, `smoothing` smooths evidence, rotations and paths, `placing` finds
the root and corrects the pose by the picture, `shape` fits one body to a clip, `path` has the
distance over time, `person` does all of it in order. Of all people: `upright` and `verticals` find
up, `carried` how a camera goes over ground that it sees, `travel` its way, `world` the ground,
`lock` holds planted feet.
"""
