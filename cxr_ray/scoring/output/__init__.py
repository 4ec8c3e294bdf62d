"""The output folder of a job: which run may write to it, which rows it holds, and how rows are committed."""
