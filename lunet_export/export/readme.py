"""README.md of an exported folder, for people. It is made of the manifest alone: the same manifest gives the same text.

The templates are in `readmes/`, one per kind of folder; this module computes the values that fill them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from lunet_export.artifact import MANIFEST, README_MARK, graph_of, section
from lunet_export.errors import brief
from lunet_export.flows import KINDS, LUNet
from lunet_export.verification import folder as verifiers

Document = Mapping[str, Any]

_WORDS = Path(__file__).with_name("readmes")
_MOST_NAMES = 32  # more names of columns are not listed
#: Keys of a network's entry that are not settings of its kind.
_GENERAL = frozenset(
    {
        "kind", "name", "dim", "preprocessing", "image_shape", "columns", "context", "sha256_weights", "source",
        "domain", "prior", "training", "certificate",
    }
)  # fmt: skip
_MORE = "`lunet-export format` prints the whole format of this folder, `lunet-export inspect .` what its manifest says."
_MORE_FOR_VERIFIERS = (
    f"{verifiers.DOCUMENT} has every figure: drawn and held-out shares of the boxes, checks, versions."
)
_OF_CLASSES = """
The same folder as a mixture of its classes, with Bayes' rule:

```python
from lunet_export import ExportedClasses

model = ExportedClasses(".", provider="cpu")
x = model.sample(100, seed=7)  # of classes by their priors; label=0 draws class 0
print(model.classify(x), model.log_prob(x).mean())
```
"""
_REPLAYS = {
    "flow": """\
parts = [("density", "x", vectors["density"], ["z", "log_prob"]), ("sampling", "z", vectors["sampling"], ["x"])]""",
    "classes": """\
parts = [("density", "x", vectors["density"], ["class_log_prob", "log_prob", "posterior"])]
parts += [(f"sampling_{number}", "z", part, ["x"]) for number, part in enumerate(vectors["sampling"])]""",
}


def of_folder(document: Document) -> str:
    """Return the README.md of a folder with one network, conditional or not, or with one per class.

    Args:
        document: Content of manifest.json; hashes and checks are not used.
    """
    model, classes, context = document["model"], document.get("classes", []), document["model"].get("context")
    kind = "classes" if classes else "flow"
    dtype = document["dtype"]
    fed = f'{{fed: np.array(known[fed], "{dtype}")}}'
    if context:
        fed = f'{{k: np.array(known[k], "{dtype}") for k in (fed, "context")}}'
    text = _filled(
        "conditional" if context else kind,
        mark=README_MARK,
        name=_code(model["name"]),
        version=document["versions"]["lunet_export"],
        opset=document["onnx"]["opset"],
        dim=model["dim"],
        dtype=document["dtype"],
        classes=len(classes),
        facts=_list([*_facts(document), *_graphs(document["graphs"])]),
        replay=_filled("replay", parts=_REPLAYS[kind], fed=fed),
        **(_conditional(context) if context else {}),
        noise=section("Noise").rstrip(),
        verify=_filled("verify", manifest=MANIFEST, more=_MORE),
    )
    return text + "\n"


def of_verifier_folder(document: Document) -> str:
    """Return the README.md of a folder for verifiers.

    Args:
        document: Content of verifier.json; hashes and checks are not used.
    """
    queries = document["queries"]
    whole = [entry["file"] for entry in queries if entry["case"] is None] or [
        entry["file"] for entry in document["boxes"]
    ]
    text = _filled(
        "verifier",
        mark=README_MARK,
        name=_code(document["model"]["name"]),
        version=document["versions"]["lunet_export"],
        opset=document["graphs"]["generator"]["opset"],
        dim=document["model"]["dim"],
        facts=_list(_facts_for_verifiers(document)),
        box_words=document["words"],
        graph=queries[0]["graph"] if queries else verifiers.GENERATOR,
        query=whole[0],
        which=f" --query {whole[0]}" if len(whole) > 1 else "",
        verify=_filled("verify", manifest=verifiers.DOCUMENT, more=_MORE_FOR_VERIFIERS),
    )
    return text + "\n"


def _filled(words: str, /, **values: object) -> str:
    """Return a template filled with the values."""
    return Template((_WORDS / f"{words}.md").read_text(encoding="utf-8").rstrip()).substitute(values)


def _list(facts: Sequence[tuple[str, str]] | Iterator[tuple[str, str]]) -> str:
    return "\n".join(f"- {what}: {fact}" for what, fact in facts)


# Folders of graphs to run


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    model, classes = document["model"], document.get("classes", [])
    yield "Model", _networks(model, classes)
    if classes:
        yield "Classes and their priors", _with_priors(classes)
    yield "Row", _row(model)
    if context := model.get("context"):
        yield "Context of a row", _context(context)
    yield "x", _about_x(model["preprocessing"])
    if p := model["preprocessing"]:
        yield "Pre-processing, in the graphs", f"h = {p['formula']}, levels {p['levels']}, margin {p['margin']!r}"
    if model.get("domain"):
        yield "Domain", "the density is defined only where `model.domain` of manifest.json says; refuse other rows"
    yield "Training", _training(document["training"])
    for sentence in document["provenance"].get("assumed", []):
        yield "Assumed", brief(sentence, 400)
    (least, most), products = document["batch"], document["products"]
    inner = "" if products == document["dtype"] else f", matrix products in {products}"
    yield "Numbers", f"{document['dtype']}{inner}; {least} to {most} rows per run"


def _networks(model: Document, classes: Sequence[Document]) -> str:
    """Return the kinds of the networks, with the settings in the manifest."""
    own = "; ".join(dict.fromkeys(_network(entry) for entry in classes or [model]))
    return f"{f'{len(classes)} networks, one per class: ' if classes else ''}{own}; {model['dim']} dimensions"


def _network(entry: Document) -> str:
    settings = {key: value for key, value in entry.items() if key not in _GENERAL}
    return f"{KINDS[entry.get('kind', LUNet.name)].title} ({_listed(settings)})"


def _listed(settings: Document) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in settings.items())


def _value(value: object) -> str:
    match value:
        case float():
            return f"{value:.4g}"
        case dict():
            return f"({_listed(value)})"
        case _:
            return str(value)


def _row(model: Document) -> str:
    """Return what a row is: an image, named columns, or a number of numbers."""
    if model["image_shape"]:
        return f"an image of {' x '.join(map(str, model['image_shape']))}, row by row"
    columns = model.get("columns")
    return f"the columns {_named(columns)}" if columns else f"{model['dim']} numbers"


def _named(columns: Sequence[str]) -> str:
    left = f" and {len(columns) - _MOST_NAMES} more" if len(columns) > _MOST_NAMES else ""
    return f"{', '.join(_code(name) for name in columns[:_MOST_NAMES])}{left}"


def _with_priors(classes: Sequence[Document]) -> str:
    return ", ".join(f"{number} {_code(entry['name'])} ({entry['prior']:.4g})" for number, entry in enumerate(classes))


def _context(context: Document) -> str:
    """Return what a context is: its columns, and their ranges in training, or the classes that it names."""
    if classes := context.get("classes"):
        return f"1 in the place of its class and 0 elsewhere; classes and their priors: {_with_priors(classes)}"
    named = f"the columns {_named(context['names'])}" if context.get("names") else f"{context['dim']} numbers"
    return f"{named}, in the units of training{_spans(context)}"


def _spans(context: Document) -> str:
    if not (ends := context.get("range")):
        return ""
    pairs = list(zip(ends["low"], ends["high"], strict=True))
    left = f" and {len(pairs) - _MOST_NAMES} more" if len(pairs) > _MOST_NAMES else ""
    spans = ", ".join(f"{low:.4g} to {high:.4g}" for low, high in pairs[:_MOST_NAMES])
    return f", which saw {spans}{left}: beyond, nothing was fitted"


def _conditional(context: Document) -> dict[str, object]:
    """Return what the template of conditional flows takes: a context as Python and C write it, its width, and more.

    The context is that of the first class, the middle of the range of training, or zeros.
    """
    classes, ends, width = context.get("classes"), context.get("range"), context["dim"]
    found: dict[str, object] = {"width": width, "context": f"[0.0] * {width}", "context_in_c": "{0}"}
    if classes:
        found |= {"context": f"[1.0] + [0.0] * {width - 1}", "context_in_c": "{1}"}
    elif ends and width <= _MOST_NAMES:
        middle = [float(f"{(low + high) / 2:.4g}") for low, high in zip(ends["low"], ends["high"], strict=True)]
        found |= {"context": str(middle), "context_in_c": f"{{{', '.join(map(str, middle))}}}"}
    return {**found, "of_classes": _OF_CLASSES if classes else ""}


def _training(record: Document) -> str:
    """Return the training data and the figures on test rows."""
    if not record.get("dataset"):
        origin = record.get("imported_from")
        return f"not recorded; the model was imported from {_code(origin)}" if origin else "not recorded"
    known = {key: f"{value:.6g}" for key, value in record.items() if isinstance(value, float)}
    found = [f"on {_code(record['dataset'])}"]
    if "test" in known:
        nats = f" ({known['test_nats']} nats per row)" if "test_nats" in known else ""
        found.append(f"{known['test']} bits/dim{nats} on its test rows")
    if "gaussian_test" in known:
        found.append(f"a {record.get('baseline', 'full-covariance Gaussian')} has {known['gaussian_test']} bits/dim")
    if "accuracy" in known:
        found.append(f"accuracy {known['accuracy']}")
    return "; ".join(found)


def _about_x(preprocessing: Document | None) -> str:
    if not preprocessing:
        return "in the units of the rows of training; what was done to data before that is not in the graphs"
    levels = preprocessing["levels"]
    return (
        f"a grey level, 0 to {levels - 1}, plus noise in [0, 1), and not the grey level itself: the density is defined "
        f"on [0, {levels}) only, and the graphs do not check. A picture is floor(x). Samples are clamped to that "
        "range; at its ends log_prob is often low"
    )


def _graphs(graphs: Document) -> Iterator[tuple[str, str]]:
    """Yield every graph with its tensors; of graphs with one per class, the first stands for all."""
    last = {graph_of(name)[0]: graph["file"] for name, graph in graphs.items()}
    for name, graph in graphs.items():
        kind, number = graph_of(name)
        if not number:
            called = f"`{graph['file']}`" if number is None else f"`{graph['file']}` to `{last[kind]}`"
            ways = (", ".join(map(_tensor, graph[way])) for way in ("inputs", "outputs"))
            yield called, " -> ".join(ways) + "".join(f". {warning}" for warning in graph.get("warnings", []))


def _tensor(entry: Document) -> str:
    kind = f"{entry['dtype']}, " if entry["dtype"].startswith("int") else ""
    return f"`{entry['name']}` [{', '.join(map(str, entry['shape']))}] ({kind}{entry['unit']})"


# Folders for verifiers


def _facts_for_verifiers(document: Document) -> Iterator[tuple[str, str]]:
    model, queries = document["model"], document["queries"]
    of = f"{model['blocks']} blocks, leaky ReLU of slope {model['slope']!r}"
    yield "Model", f"{KINDS[model['kind']].title} ({of}); {model['dim']} dimensions"
    yield "Row", _row(model)
    yield "Output", model["output"]
    for graph in document["graphs"].values():
        yield f"`{graph['file']}`", f"{graph['input']} -> {graph['output']} ({_listed(graph['operators'])})"
    for entry in document["boxes"]:
        yield f"`{entry['file']}`", f"every |z_i| <= {entry['bound']}, of mass {entry['mass']!r}"
    if not queries:
        yield "Claim", "none, hence no queries"
        return
    yield "Claim", _code(document["claim"])
    for entry in queries:
        if entry["case"] is None:
            yield (
                f"`{entry['file']}`",
                f"the box of mass {entry['mass']!r} and the negated claim, of `{entry['graph']}`: sat is a "
                "counterexample, unsat a proof",
            )
    if cases := sum(entry["case"] is not None for entry in queries):
        yield f"{cases} other queries", "one case each of the negated claim, for verifiers without disjunctions"


def _code(name: object) -> str:
    """Return a name from an untrusted file as one line of code in Markdown, so that nothing in it is markup."""
    line = "".join(letter if letter.isprintable() else "?" for letter in brief(name))
    return f"`{line.replace('`', chr(39))}`"
