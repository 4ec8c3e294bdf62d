"""Start or join a Ray cluster, read the CPUs and GPUs of its nodes, and submit jobs to it."""
