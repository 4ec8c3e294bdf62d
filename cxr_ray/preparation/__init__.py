"""From folders and label tables to datasets with splits."""
