"""A person's parameters in; joints, landmarks and a surface out.

`skeleton` names the joints and has forward kinematics, `model` is a body in SMPL's format with its
shapes and skin, `smpl` reads users' own SMPL files, or the free body that hpsvid ships.
"""
