"""Video in and out: probe, read, write, cuts."""
