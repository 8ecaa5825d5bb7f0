"""Laws, parity, hostile input and faults; mirrors the package."""

import os

#: Threads of PyTorch and BLAS fight with each other and with other workers. It is said before either is imported, as
#: this package is before its `conftest.py`; what the environment says already holds.
os.environ.setdefault("OMP_NUM_THREADS", "1")
