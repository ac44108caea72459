"""Getting cells computed.

What has to run before what (jobs), how long it takes (estimate), what a worker does (worker), and where workers live
(executors): on this machine, on Ray, on Slurm, or where another package says.
"""
