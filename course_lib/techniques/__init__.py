"""The reference versions of what the notebooks build, one file a technique."""
