"""What happens to each block of images on its way to rows."""
