"""What every family keeps, over one table of networks: a module `tests.families.NAME` for each folder of families."""
