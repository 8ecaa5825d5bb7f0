"""JKO-iFlow (Xu, Cheng and Xie 2022, arXiv 2212.14424): a continuous flow, trained block by block.

Re-implemented from its objective. Each block integrates dx/dt = v(x, t) over [0, 1] by a fixed number of steps of a
Runge-Kutta method of order 4, so density and samples are those of the continuous flow up to the method's error.
"""
