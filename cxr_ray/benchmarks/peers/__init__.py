"""Other ways to score files with a classifier, as their own documentation writes them, for benchmarks."""
