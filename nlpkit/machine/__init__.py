"""CPUs and memory: compiling, threads, devices, portable mode."""
