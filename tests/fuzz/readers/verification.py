"""What is exported for verifiers, queries, claims, and the witnesses that come back."""

import json
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lunet_export.artifact import read_readme, sealed
from lunet_export.export import Provenance, Question, export_for_verifier
from lunet_export.files.reading import sha256
from lunet_export.verification import VerifierFolder, replay, vnnlib, witness
from lunet_export.verification.claim import Claim
from lunet_export.verification.replay import as_json
from tests.fuzz.mutations import headers, places, raw, trees
from tests.fuzz.readers.base import Case, Reader, same, short
from tests.verification.cases import dense, piecewise_linear

DIM, QUERY, DOCUMENT = 3, "query-0.9.vnnlib", "verifier.json"
_TOKENS = (
    *(
        "(",
        ")",
        "<=",
        ">=",
        "and",
        "or",
        "assert",
        "declare-const",
        "Real",
        "X_0",
        "X_1",
        "Y_0",
        "Y_99",
        "X_-1",
        "Y_00",
    ),
    *("1e999", "-1e999", "nan", "inf", "1e-999", "0.1", ";", "\n", "=", "X_999999999", "9" * 400, "-", "(and", "(or"),
)


def _tokens(text: str, rng: Random) -> str:
    """Words of the language where other ones were."""
    words = text.split(" ")
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(words))
        way = rng.randrange(4)
        if way == 0:
            words[place] = rng.choice(_TOKENS)
        elif way == 1:
            words.insert(place, rng.choice(_TOKENS))
        elif way == 2:
            del words[place]
            words = words or [""]
        else:
            words[place:place] = words[place : place + rng.randrange(40)] * rng.choice((1, 3))
    return " ".join(words)


class FolderForVerifiers(Reader):
    name, share = "folder for verifiers", 8

    def prepare(self) -> None:
        export_for_verifier(
            piecewise_linear(DIM, 2), self.home / "good", Provenance("v"), Question((0.9,), dense(DIM), "class 1")
        )
        self.files = {path.name: path.read_bytes() for path in sorted((self.home / "good").iterdir())}
        self.document = json.loads(self.files[DOCUMENT])

    def good(self, folder: Path) -> None:
        for name, data in self.files.items():
            (folder / name).write_bytes(data)

    def mutate(self, folder: Path, rng: Random) -> Case:
        self.good(folder)
        draw = rng.random()
        if draw < 0.2:
            name = rng.choice(list(self.files))
            (folder / name).write_bytes(raw.mutate(self.files[name], rng))
            return Case("raw", same=True)
        if draw < 0.35:
            name = rng.choice(list(self.files))
            outside = folder.parent / "outside"
            outside.mkdir(exist_ok=True)
            (outside / name).write_bytes(self.files[name])
            way = places.mutate(folder / name, outside / name, rng)
            return Case(way, refused=way not in ("link in", "other"), same=True)
        if draw < 0.6:
            data = _tokens(self.files[QUERY].decode(), rng).encode()
            (folder / QUERY).write_bytes(data)
            document = {**self.document, "sha256": {**self.document["sha256"], QUERY: sha256(data)}}
            self._sealed(folder, document, rng)
            return Case("query, sealed")
        self._sealed(folder, trees.mutate(self.document, rng), rng)
        return Case("tree, sealed")

    def _sealed(self, folder: Path, document: Any, rng: Random) -> None:
        if isinstance(document, dict) and not trees.deep(document):
            document = sealed(document)
        (folder / DOCUMENT).write_bytes(trees.text(document, rng))

    def read(self, folder: Path) -> Any:
        opened = VerifierFolder.open(folder)
        read_readme(folder, opened.document)  # as `verify` does
        query = opened.choose(QUERY)
        opened.choose(None)
        found = replay(opened, witness.Witness(np.full(opened.dim, 0.25), {0: 1.0}), query=query)
        json.dumps(as_json(found))
        return [opened.dim, found.x, found.log_prob, found.y, found.margin]


class Vnnlib(Reader):
    name, share = "VNN-LIB", 60

    def prepare(self) -> None:
        box = tuple(Decimal(f"{number}.25") for number in range(1, 4))
        claims = ("class 1", "Y_0 <= 3.5 and Y_1 >= Y_0", "Y_2 <= 0")
        self.goods = [
            vnnlib.write(
                vnnlib.Query(tuple(-bound for bound in box), box, 3, Claim.parse(claim, 3).cases), ["a remark"]
            )
            for claim in claims
        ]

    def good(self, folder: Path) -> None:
        (folder / "q.vnnlib").write_text(self.goods[0])

    def mutate(self, folder: Path, rng: Random) -> Case:
        text = rng.choice(self.goods)
        if rng.random() < 0.3:
            data, case = raw.mutate(text.encode(), rng), Case("raw")
        else:
            data, case = _tokens(text, rng).encode(), Case("words")
        if rng.random() < 0.01:
            count = rng.choice((1000, 20_000))
            part = rng.choice(
                ("(assert (<= Y_0 Y_1))\n", "(assert (or (<= Y_0 Y_1) (<= Y_1 Y_0)))\n", "(", "(assert (and ")
            )
            data, case = text.encode() + part.encode() * count, Case("long")
        (folder / "q.vnnlib").write_bytes(data)
        return case

    def read(self, folder: Path) -> Any:
        try:
            text = (folder / "q.vnnlib").read_bytes().decode()
        except UnicodeDecodeError:
            text = ""  # whoever reads the file says so
        return vnnlib.parse(text)

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        again = vnnlib.parse(vnnlib.write(answer))
        if again != answer:
            return f"written and read again it is {short(again)}"
        text = (folder / "q.vnnlib").read_text()
        words = (
            " ".join(line.partition(";")[0] for line in text.splitlines()).replace("(", " ").replace(")", " ").split()
        )
        if words.count("declare-const") != answer.dim + answer.outputs:
            return f"it declares {words.count('declare-const')} variables; got {answer.dim} and {answer.outputs}"
        return None


class Claims(Reader):
    name, share = "claim", 40

    def prepare(self) -> None:
        self.goods = ["class 1", "Y_0 <= 3.5 and Y_1 >= Y_0", "Y_2 <= 0"]

    def good(self, folder: Path) -> None:
        (folder / "claim").write_text(self.goods[0])

    def mutate(self, folder: Path, rng: Random) -> Case:
        text = rng.choice(self.goods)
        text = _tokens(text, rng) if rng.random() < 0.6 else raw.mutate(text.encode(), rng).decode(errors="replace")
        (folder / "claim").write_text(text)
        return Case("words")

    def read(self, folder: Path) -> Any:
        text = (folder / "claim").read_bytes().decode()
        found = Claim.parse(text, 3)
        return [found, vnnlib.write(vnnlib.Query((Decimal(0),), (Decimal(1),), 3, found.cases))]

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        found, written = answer
        again = vnnlib.parse(written)
        return None if again.cases == found.cases else f"written and read again it is {again.cases}"


class Witnesses(Reader):
    name, share = "witness", 40

    def prepare(self) -> None:
        self.values = {"X_0": 0.5, "X_1": -1.25, "X_2": 3e-7, "Y_0": 3.0}
        pairs = " ".join(f"({name} {value!r})" for name, value in self.values.items())
        lines = "".join(f"input {i} = {self.values[f'X_{i}']}\n" for i in range(DIM)) + "output 0 = 3.0\n"
        self.goods = {
            "w.txt": (f"sat\n({pairs})", lines),
            "w.json": (self.values, [0.5, -1.25, 3e-7]),
            "w.npy": (None,),
        }

    def good(self, folder: Path) -> None:
        (folder / "w.txt").write_text(self.goods["w.txt"][0])

    def mutate(self, folder: Path, rng: Random) -> Case:
        file = rng.choice(list(self.goods))
        content: Any = rng.choice(self.goods[file])
        if file == "w.npy":
            data = headers.npy(np.array([0.5, -1.25, 3e-7]), rng)
        elif file == "w.json":
            data = trees.text(trees.mutate(content, rng), rng)
            data = raw.mutate(data, rng) if rng.random() < 0.3 else data
        else:
            data = _tokens(content, rng).encode() if rng.random() < 0.6 else raw.mutate(content.encode(), rng)
            if rng.random() < 0.01:
                data = " ".join(f"(X_{number} 0.5)" for number in range(rng.choice((5000, 100_000)))).encode()
        (folder / file).write_bytes(data)
        return Case(file)

    def read(self, folder: Path) -> Any:
        (path,) = (path for path in folder.iterdir() if path.name.startswith("w."))
        found = witness.read(path, DIM)
        return [found.z, dict(found.outputs)]

    def wrong(self, folder: Path, case: Case, answer: Any) -> str | None:
        z, _ = answer
        if not np.isfinite(z).all():
            return f"it is not finite: {z}"
        if case.mutation == "w.json":
            held = json.loads((folder / "w.json").read_text(encoding="utf-8-sig"))
            right = [held[f"X_{i}"] for i in range(DIM)] if isinstance(held, dict) else held
            if not same(z, np.array(right, dtype=np.float64).reshape(-1)):
                return f"it holds {short(right)}; got {z}"
        if case.mutation == "w.txt":
            text = (folder / "w.txt").read_text(encoding="utf-8-sig")
            missing = [number for number in z.tolist() if not _stands(number, text)]
            if missing:
                return f"{missing} is not in it"
        return None


def _stands(number: float, text: str) -> bool:
    """Whether a number is one of the words of a text."""
    for word in text.replace("(", " ").replace(")", " ").split():
        try:
            if float(word) == number:
                return True
        except ValueError:
            continue
    return False


READERS = (FolderForVerifiers, Vnnlib, Claims, Witnesses)
