"""Other skeletons than SMPL's: their bones found by name, motion carried over to them and back."""
