"""Somebody's code in a process of its own that can reach neither the verdict nor what is right.

The process is started fresh, gets what it is given as plain bytes and gives plain bytes back; here they are checked.
"""
