"""A static page on which a reader browses the predictions and masks of an archive job."""
