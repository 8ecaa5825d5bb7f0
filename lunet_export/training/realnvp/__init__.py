"""How RealNVP is trained: from the identity, by Adam, with the paper's penalty on the scales."""
