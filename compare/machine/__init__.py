"""The machine: its files and data, devices, memory and threads, and what is wrong with it."""
