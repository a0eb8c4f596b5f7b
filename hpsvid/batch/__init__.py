"""Who does many jobs: processes of this machine, or a Ray cluster.

An engine takes jobs and the function that does one, and yields each job's row as it comes; a
worker that dies costs its own job at most. Closing the iterator ends the workers.
"""
