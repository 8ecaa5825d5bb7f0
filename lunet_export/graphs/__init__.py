"""What the graphs of all families share: the builder, settings, what is counted; nothing here knows torch."""
