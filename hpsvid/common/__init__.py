"""Tools that know no person and no video: geometry, series, boxes, files, weights, threads."""
