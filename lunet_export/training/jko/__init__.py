"""How JKO-iFlow is trained: block by block, each a step of the gradient flow of KL(p | N(0, I)) in W_2."""
