"""Ray Data: an archive streamed through models into rows of Parquet."""
