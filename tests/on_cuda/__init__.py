"""Everything that a machine with an NVIDIA GPU can say about gradtwin, in one command: `python3 -m tests.on_cuda`."""
