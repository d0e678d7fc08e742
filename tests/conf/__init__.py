"""Tests of what ``conf/`` ships beside configurations: manifests and the recipe of an image."""
