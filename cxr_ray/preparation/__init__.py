"""Make datasets with splits from folders of radiographs and label tables."""
