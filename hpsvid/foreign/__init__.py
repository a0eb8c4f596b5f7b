"""Results of other tools as a Motion: one module a layout, `reading` tells them apart."""
