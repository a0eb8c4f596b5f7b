"""The body: its skeleton, the free SMPL-format model, and users' own SMPL files."""
