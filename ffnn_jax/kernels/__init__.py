"""GPU kernels, each an implementation of a reference, and the choice between the two.

`Plan(implementation=…)`   "xla": the reference; "pallas": the kernel, or the reason why not;
                           None: the kernel on CUDA where a measurement on record says it wins
"""
