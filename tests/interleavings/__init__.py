"""All orders in which a few events can come, tried on the real objects: the loom of this project."""
