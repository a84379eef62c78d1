"""Videos, animated pictures and folders of images, decoded frame by frame as a player shows them."""
