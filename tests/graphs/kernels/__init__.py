"""The kernels that ONNX Runtime's CUDA and CPU providers have, as data, and what a graph lacks of them."""
