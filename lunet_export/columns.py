"""Columns: what a sentence calls one, what names a model can know them by, and where its columns are in a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from lunet_export.errors import BadInputError, DataError, brief, did_you_mean, near

#: Names of columns by position.
Names = tuple[str, ...]

_TOLD = 3  # columns that are missing, in a sentence
_LONGEST = 40  # characters of a name, in a sentence


def called(number: int, names: Sequence[str] | None = None) -> str:
    """Return what column `number`, from 0, is called: its number counted from one, and its name where it has one."""
    name = names[number] if names else ""
    return f"column {number + 1} ({brief(name, _LONGEST)})" if name else f"column {number + 1}"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    return brief(", ".join(names), 200)


def stripped(names: Sequence[str]) -> Names:
    """Return names as they are compared: without the spaces around them."""
    return tuple(name.strip() for name in names)


def usable(names: Sequence[str] | None) -> Names | None:
    """Return the names by which a model can know its columns; None where one is empty, unprintable or comes twice."""
    found = stripped(names or ())
    good = found and all(name and name.isprintable() for name in found) and len(set(found)) == len(found)
    return found if good else None


def given_names(names: Sequence[str], dim: int) -> Names:
    """Return the names that a user gives to the D columns of a model.

    Raises:
        BadInputError: if these are not D different printable names.
    """
    found = None if isinstance(names, str) else usable(names)
    if found is None or len(found) != dim:
        told = repr(names) if isinstance(names, str) else listed(names)
        raise BadInputError(f"Expected {dim} different names in `columns`, one per dimension; got {told}.")
    return found


def read_names(value: object, dim: int, place: str) -> Names | None:
    """Return the names at a place of a document or a model file, where None is none.

    Raises:
        ValueError: whose text is the place, if it is no list of D names.
    """
    if value is None:
        return None
    if isinstance(value, list) and len(value) == dim and all(isinstance(name, str) for name in value):
        names = tuple(value)
        if usable(names) == names:
            return names
    raise ValueError(place)


def numbered(dim: int) -> Names:
    """Return the names of the columns of samples where a model has none: x_1, x_2, .."""
    return tuple(f"x_{number}" for number in range(1, dim + 1))


def chosen(
    columns: Sequence[str], names: Sequence[str] | None, width: int, where: object, option: str = "columns"
) -> list[int]:
    """Return where columns are, from 0, that are given by name or by number counted from one.

    Args:
        columns: Names or numbers.
        names: Names of the columns of a table; None where it has none.
        width: Number of columns of the table.
        where: Its file, or what it is called, for the sentence.
        option: Name of the argument that gives them, for the sentence.

    Raises:
        DataError: if one is not there, or is given twice.
    """
    found = []
    for column in columns:
        if names and column in names:
            found.append(list(names).index(column))
        elif column.isdecimal() and 1 <= int(column) <= width:
            found.append(int(column) - 1)
        else:
            known = listed(names) if names else f"1 .. {width}"
            raise DataError(
                f"Expected `{option}` of {known} in {where}; got {brief(repr(column), _LONGEST)}."
                f"{did_you_mean(column, names or ())}"
            )
    if len(set(found)) < len(found):
        raise DataError(f"Expected each column once in `{option}`; got {listed(columns)}.")
    return found


@dataclass(frozen=True)
class Columns:
    """The columns of a model: how many, and their names where they have any."""

    dim: int
    names: Names | None = None

    def called(self, number: int) -> str:
        """Return what a column, from 0, is called in a sentence."""
        return called(number, self.names)

    def places(self, names: Sequence[str], where: object, cure: str) -> list[int] | None:
        """Return where they are, from 0, among the columns of a table; None where they are known by position alone.

        A model without names has those of its samples, x_1, x_2, .., in a table that has all of them.

        Args:
            names: Names of the columns of the table, in its order.
            where: Its file, or what it is called, for the sentence.
            cure: What to do where one is missing, a sentence.

        Raises:
            DataError: if the model has names, and one is not there.
        """
        there = {name: place for place, name in reversed([*enumerate(stripped(names))])}
        wanted = self.names or numbered(self.dim)
        missing = [number for number, name in enumerate(wanted) if name not in there]
        if not missing:
            return [there[name] for name in wanted]
        if self.names is None:
            return None
        told = ", ".join(self.called(number) for number in missing[:_TOLD])
        more = f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
        close = dict.fromkeys(found for number in missing[:_TOLD] for found in near(wanted[number], there))
        meant = f" Did you mean {brief(' or '.join(close), 200)}?" if close else ""
        cure = cure if len(names) >= self.dim else f"Give a table with {self.dim} columns."
        raise DataError(
            f"Expected the model's columns in {where}; it lacks {told}{more}.{meant} It has {listed(names)}. {cure}"
        )

    def validate_order(self, columns: Sequence[str]) -> None:
        """Raise where columns are chosen that are the model's own, in another order.

        Raises:
            DataError: if they are.
        """
        if self.names and set(columns) == set(self.names) and tuple(columns) != self.names:
            raise DataError(
                f"Expected `columns` in the model's order, {listed(self.names)}; got {listed(columns)}. Leave it out: "
                "the model knows its columns by name."
            )
