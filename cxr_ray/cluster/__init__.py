"""Start or join a Ray cluster, and read the CPUs and GPUs of its nodes."""
