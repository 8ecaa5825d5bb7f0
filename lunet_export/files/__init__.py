"""Files that appear whole or not at all, and are read as they were written."""

from lunet_export.files.whole import (
    exchange,
    exclusive,
    is_unfinished,
    led_to,
    make_parents,
    scratch_folder,
    sweep,
    whole_file,
    whole_folder,
)

__all__ = [
    "exchange",
    "exclusive",
    "is_unfinished",
    "led_to",
    "make_parents",
    "scratch_folder",
    "sweep",
    "whole_file",
    "whole_folder",
]
