"""What is wrong with a .csv file is told by line and column, as an editor counts them."""

import numpy as np
import pytest

from lunet_export import data
from lunet_export.errors import DataError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it holds no rows"),
        ("a,b\n\n", "it holds no rows"),
        ("a,b\n1,2\n3,abc\n", "line 3, column 2 (b) is 'abc', not a number; leave its column out by `columns`"),
        ("1,2\n3,\n", "line 2, column 2 is '', not a number; fill it, or leave its row out"),
        ("1,2\n\n3\n", "line 3 has 1 columns where those before have 2"),
        ("x;y\n1;2\n", "line 2, column 1 (x;y) is '1;2', not a number; separate columns by commas, not semicolons"),
        ("x;y\n1,5;2,5\n", "line 2, column 2 is '5;2', not a number; separate columns by commas, not semicolons"),
        ("x y\n1 2\n", "line 2, column 1 (x y) is '1 2', not a number; separate columns by commas, not spaces"),
        ("x\ty\n1\t2\n", "not tabs"),
    ],
)
def test_the_fault_is_told(text, told, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        data.arrays.read(path)
    assert str(caught.value).endswith(f"{told}.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['"a","b"\n"1.5",2\n3,"4"\n', '"1.5","2"\n"3","4"\n', "\ufeff1.5,2\r\n3,4\r\n"])
def test_quotes_and_marks_of_other_programs_are_read(text, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    np.testing.assert_array_equal(data.arrays.read(path), [[1.5, 2], [3, 4]])
