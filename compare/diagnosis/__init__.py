"""Somebody's own code: driven as it is, in a process of its own, judged, and its mistake named."""
