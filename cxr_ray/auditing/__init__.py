"""What a classifier of radiographs has learned: the disease, or the source, the border and the letters of the images."""
