"""How LU-Net is trained: where it starts, in which coordinates it descends, what may be added to its likelihood."""
