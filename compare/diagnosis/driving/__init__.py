"""Somebody's own code, made and driven as it is."""
