"""What the site is built from, put into one folder: see `pages`."""
