"""What a graph of an exported folder may hold, read from its bytes before any runtime opens it.

A runtime runs whatever a file says: it would fetch a constant's numbers from any path that is named as its place, loop
without end, or make 2^40 numbers of two. No export does. An ONNX file is a tree of protocol buffers, in which a field
is a number and a value, and a value that is not looked at is stepped over by its length; the numbers of the fields are
those of onnx.proto.
"""

from collections.abc import Iterator

from lunet_export.errors import ArtifactError, brief

#: Operators of all graphs that are exported. They make of rows no more numbers than they are given constants for.
OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Div",
        "Exp",
        "Flatten",
        "Gather",
        "Gemm",
        "Greater",
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
        "Split",
        "Sqrt",
        "Sub",
        "Tanh",
        "Where",
    ]
)
#: Of graphs that draw their noise, whose callers say how much.
DRAWING = OPERATORS | {"ConstantOfShape", "RandomNormalLike"}

_ONNX = ("", "ai.onnx")  # two names of one domain
_MOST_FIELDS, _DEEPEST = 2_000_000, 32
_EXTERNAL = 1  # of TensorProto.data_location
Message = memoryview


def validate_operators(data: bytes, where: str, operators: frozenset[str] | None = OPERATORS) -> None:
    """Raise unless all of a graph is in the file, and it is made of these operators alone.

    Args:
        data: The file's bytes.
        where: It, for a sentence.
        operators: Those that it may have; with None any, and branches, loops and functions too.

    Raises:
        ArtifactError: It is no ONNX file, or holds something else.
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
        """ModelProto."""
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
                    elif field == 11:  # what its attributes are where a caller says nothing
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
        """The fields that have a length: texts and messages."""
        return ((number, value) for number, value in self._fields_of(message) if isinstance(value, memoryview))

    def _fields_of(self, message: Message) -> Iterator[tuple[int, Message | int]]:
        """Numbers and values of a message's fields. Raises ValueError or IndexError where it is none."""
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
    """A number of 7 bits a byte, least first, and the place behind it."""
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
