"""`python -m docs.assemble FOLDER`: everything that the site is built from."""

import shutil
import sys
from pathlib import Path

from docs.assemble.pages import assemble

folder = Path(sys.argv[1])
shutil.rmtree(folder, ignore_errors=True)
assemble(folder)
