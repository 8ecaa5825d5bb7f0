"""What every family keeps, over one table of networks: with a module `NAME` for each kind of flow."""
