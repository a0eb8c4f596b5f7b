"""One person's motion: camera, placing, smoothing, feet."""
