"""Candidates that try to be called right without being right, to hang the tool, to kill it, or to leave traces."""
