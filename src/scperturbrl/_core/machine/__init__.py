"""The machine that runs the code: device, memory, threads."""
