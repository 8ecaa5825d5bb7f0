"""How LU-Net is trained: its start, the coordinates of its optimizer, and what may be added to its likelihood."""
