"""`hpsvid bench`: speed, memory, smoothness and accuracy on a folder of clips."""
