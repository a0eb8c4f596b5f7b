"""All that belongs to the authors' own checkpoints of HybrIK and NIKI."""
