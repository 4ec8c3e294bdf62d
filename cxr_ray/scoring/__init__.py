"""Jobs that stream an archive through models with Ray Data and write rows to Parquet files."""
