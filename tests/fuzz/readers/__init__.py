"""The readers under test, one module for each kind of file; `table` names all of them."""
