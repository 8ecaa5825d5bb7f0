"""Validation of the graphs of an exported folder, from their bytes, before any runtime opens them.

A runtime runs whatever a file says: it would read the numbers of a constant from any path that the file names, loop
without end, or make 2^40 numbers from two. No export does this. An ONNX file is a tree of protocol buffers: a field is
a number and a value, and a value that is not needed is skipped by its length. Field numbers are those of onnx.proto.
"""

from collections.abc import Iterator

from lunet_export.errors import ArtifactError, brief

#: Operators of all exported graphs. Their outputs are no larger than their rows and constants allow.
OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Div",
        "Equal",
        "Exp",
        "Flatten",
        "Gather",
        "Gemm",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "InstanceNormalization",
        "LeakyRelu",
        "Less",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Slice",
        "Split",
        "Sqrt",
        "Sub",
        "Tanh",
        "Transpose",
        "Where",
    ]
)
#: Operators of graphs that draw noise themselves, as much as the caller asks for.
DRAWING = OPERATORS | {"ConstantOfShape", "RandomNormalLike"}

_ONNX = ("", "ai.onnx")  # two names of one domain
_MOST_FIELDS, _DEEPEST = 2_000_000, 32
_EXTERNAL = 1  # value of TensorProto.data_location
Message = memoryview


def validate_operators(data: bytes, where: str, operators: frozenset[str] | None = OPERATORS) -> None:
    """Raise unless a graph is complete in its file and has only these operators.

    Args:
        data: Bytes of the file.
        where: Name of the file, for error messages.
        operators: Operators that are valid; None allows all, and branches, loops and functions too.

    Raises:
        ArtifactError: if it is not an ONNX file, or holds something else.
    """
    try:
        _Reader(where, operators).model(memoryview(data))
    except (ValueError, IndexError, UnicodeDecodeError):
        raise ArtifactError(
            f"Expected an ONNX graph in {where}; it is damaged or another format. Export again."
        ) from None


class _Reader:
    def __init__(self, where: str, operators: frozenset[str] | None) -> None:
        self._where, self._operators, self._fields = where, operators, 0

    def model(self, message: Message) -> None:
        """Validate a ModelProto."""
        for number, value in self._parts(message):
            if number == 7:
                self._graph(value, 0)
            elif number == 20:
                raise self._refused("training information")
            elif number == 25:
                self._closed("a function")
                for field, node in self._parts(value):
                    if field == 7:
                        self._node(node, 0)
                    elif field == 11:  # defaults of its attributes
                        self._attribute(node, 0)

    def _graph(self, message: Message, depth: int) -> None:
        if depth > _DEEPEST:
            raise self._refused("graphs inside graphs")
        for number, value in self._parts(message):
            if number == 1:
                self._node(value, depth)
            elif number == 5:
                self._tensor(value)
            elif number == 15:
                self._sparse(value)

    def _node(self, message: Message, depth: int) -> None:
        operator, domain = "", ""
        for number, value in self._parts(message):
            if number == 4:
                operator = bytes(value).decode()
            elif number == 7:
                domain = bytes(value).decode()
            elif number == 5:
                self._attribute(value, depth)
        if self._operators is not None and (domain not in _ONNX or operator not in self._operators):
            raise self._refused(f"the operator {brief(operator, 40) or 'without a name'}")

    def _attribute(self, message: Message, depth: int) -> None:
        for number, value in self._parts(message):
            if number in (5, 10):
                self._tensor(value)
            elif number in (6, 11):
                self._closed("a graph inside a node")
                self._graph(value, depth + 1)
            elif number in (22, 23):
                self._sparse(value)

    def _sparse(self, message: Message) -> None:
        self._closed("a sparse constant")
        for number, value in self._parts(message):
            if number in (1, 2):
                self._tensor(value)

    def _tensor(self, message: Message) -> None:
        for number, value in self._fields_of(message):
            if number == 13 or (number == 14 and value == _EXTERNAL):
                raise self._refused("numbers that are kept in another file")

    def _closed(self, what: str) -> None:
        if self._operators is not None:
            raise self._refused(what)

    def _refused(self, what: str) -> ArtifactError:
        return ArtifactError(
            f"Expected a graph as lunet-export writes it in {self._where}; it has {what}, which is refused. "
            "Export again, or install the lunet-export that wrote it."
        )

    def _parts(self, message: Message) -> Iterator[tuple[int, Message]]:
        """Return the fields that have a length: texts and messages."""
        return ((number, value) for number, value in self._fields_of(message) if isinstance(value, memoryview))

    def _fields_of(self, message: Message) -> Iterator[tuple[int, Message | int]]:
        """Yield numbers and values of a message's fields; raise ValueError or IndexError if it is malformed."""
        place, size = 0, len(message)
        while place < size:
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise self._refused(f"more than {_MOST_FIELDS} parts")
            tag, place = _varint(message, place)
            kind = tag & 7
            if kind == 0:
                value, place = _varint(message, place)
                yield tag >> 3, value
                continue
            length, place = {1: (8, place), 5: (4, place)}.get(kind) or _varint(message, place)
            if kind not in (1, 2, 5) or place + length > size:
                raise ValueError
            if kind == 2:
                yield tag >> 3, message[place : place + length]
            place += length


def _varint(message: Message, place: int) -> tuple[int, int]:
    """Return a number of 7 bits per byte, least significant first, and the place after it."""
    found = shift = 0
    while True:
        byte = message[place]
        place += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, place
        shift += 7
        if shift > 63:
            raise ValueError
