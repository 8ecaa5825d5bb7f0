# `make demo` sets up and shows the whole way; `make test` sets up and runs every check. Needs Python 3.11, make, git.
PYTHON ?= python3.11
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
DEMO := demo
RUNS := runs
# Processes that share the tests: as many as there are processors.
WORKERS ?= auto
SHARED := -n $(WORKERS) --maxprocesses 8 --dist worksteal
# What `make test-quick` asks, but for tests that are marked slow.
QUICK := tests/flows tests/families tests/graphs tests/certificate tests/parity tests/test_*.py
DATA_DIR ?= data

.PHONY: demo mnist fashion-mnist mnist-squareplus fashion-mnist-squareplus mnist-classes fashion-mnist-classes mnist-labels fashion-mnist-labels toys test test-quick lint test-kernels test-cuda test-embed test-marabou test-release audit docs fix setup setup-dev setup-peers oldest exported exported-gallery bench bench-science bench-pages compat soak clean

demo: setup
	rm -rf $(DEMO) && mkdir $(DEMO)
	$(BIN)/lunet-export train digits -o $(DEMO)/digits.pt
	$(BIN)/lunet-export $(DEMO)/digits.pt -o $(DEMO)/digits
	$(BIN)/lunet-export check $(DEMO)/digits --model $(DEMO)/digits.pt
	$(BIN)/lunet-export sample $(DEMO)/digits -n 100 -o $(DEMO)/grid.png
	$(BIN)/lunet-export bench $(DEMO)/digits --model $(DEMO)/digits.pt --batch 1,256 --seconds 0.5 --no-compile
	@echo "look at $(DEMO)/grid.png (samples) and $(DEMO)/digits.png (training curve)"
	@echo "next: . $(BIN)/activate   # lets this shell find lunet-export; then: lunet-export --help, or the tour in README.md"

# The paper's network on its two sets of images: training (goes on where it stopped), export, checks, figures, pictures.
# The IDX files lie in DATA_DIR, in folders called mnist and fashion-mnist.
# mnist-squareplus and fashion-mnist-squareplus: the same with the activation that is faster and learns its alphas.
OTHER = $(if $(filter fashion-%,$@),mnist,fashion-mnist)
SET = $(@:-squareplus=)
LEARNED = $(if $(filter %-squareplus,$@),--activation leaky-squareplus --alpha learned)
AGAINST = $(if $(wildcard $(DATA_DIR)/$(OTHER)),--against $(OTHER))
RESUMED = $(if $(wildcard $(1)),--resume)

mnist fashion-mnist mnist-squareplus fashion-mnist-squareplus: setup
	mkdir -p $(RUNS)
	$(BIN)/lunet-export train $(SET) $(LEARNED) --data-dir $(DATA_DIR) --epochs 80 --paper-convention -o $(RUNS)/$@.pt --json \
		$(call RESUMED,$(RUNS)/$@.resume.pt) > $(RUNS)/$@-training.json
	$(BIN)/lunet-export $(RUNS)/$@.pt -o $(RUNS)/$@ --force
	$(BIN)/lunet-export check $(RUNS)/$@ --model $(RUNS)/$@.pt
	$(BIN)/lunet-export diagnose $(RUNS)/$@.pt $(SET) $(AGAINST) --data-dir $(DATA_DIR) --plot $(RUNS)/$@-ppca.png --json \
		> $(RUNS)/$@-diagnosis.json
	$(BIN)/lunet-export certify $(RUNS)/$@ $(SET) --data-dir $(DATA_DIR) --rows 1000 --json > $(RUNS)/$@-certificate.json
	$(BIN)/lunet-export sample $(RUNS)/$@ -n 100 -o $(RUNS)/$@-samples.png
	for kind in interpolation latents activations; do \
		$(BIN)/lunet-export plot $$kind $(RUNS)/$@.pt $(SET) --data-dir $(DATA_DIR) -o $(RUNS)/$@-$$kind.png || exit; done
	$(BIN)/lunet-export plot curve $(RUNS)/$@.pt -o $(RUNS)/$@-curve.png
	@echo "figures and pictures: $(RUNS)/$@-*"

# One network a class of the same sets. All start from the network of all classes, at a small rate: 6,000 images are few.
mnist-classes fashion-mnist-classes: %-classes: setup
	test -f $(RUNS)/$*.pt || $(MAKE) $*
	$(BIN)/lunet-export train $* --per-class --data-dir $(DATA_DIR) --from $(RUNS)/$*.pt --plain --learning-rate 1e-4 \
		--batch-size 64 --epochs 40 -o $(RUNS)/$@.pt --json \
		$(call RESUMED,$(RUNS)/$@.classes/0.resume.pt) > $(RUNS)/$@-training.json
	$(BIN)/lunet-export $(RUNS)/$@.pt -o $(RUNS)/$@ --force
	$(BIN)/lunet-export check $(RUNS)/$@ --model $(RUNS)/$@.pt
	$(BIN)/lunet-export classify $(RUNS)/$@ $* $(AGAINST) --data-dir $(DATA_DIR) --plot $(RUNS)/$@-confusion.png --json \
		> $(RUNS)/$@-classification.json
	$(BIN)/lunet-export sample $(RUNS)/$@ -n 100 -o $(RUNS)/$@-samples.png

# One network of all classes of the same sets that takes the label as its context, by the recommended activation.
mnist-labels fashion-mnist-labels: %-labels: setup
	mkdir -p $(RUNS)
	$(BIN)/lunet-export train $* --context-labels --activation leaky-squareplus --alpha learned --data-dir $(DATA_DIR) --epochs 80 \
		-o $(RUNS)/$@.pt --json $(call RESUMED,$(RUNS)/$@.resume.pt) > $(RUNS)/$@-training.json
	$(BIN)/lunet-export $(RUNS)/$@.pt -o $(RUNS)/$@ --force
	$(BIN)/lunet-export check $(RUNS)/$@ --model $(RUNS)/$@.pt
	$(BIN)/lunet-export classify $(RUNS)/$@ $* $(AGAINST) --data-dir $(DATA_DIR) --plot $(RUNS)/$@-confusion.png --json \
		> $(RUNS)/$@-classification.json
	$(BIN)/lunet-export sample $(RUNS)/$@ -n 100 -o $(RUNS)/$@-samples.png

# The sets in two dimensions, whose entropies are known: figures, densities and samples. A minute or two each.
toys: setup
	mkdir -p $(RUNS)
	for name in mixture eight-gaussians two-moons; do \
		OMP_NUM_THREADS=1 $(BIN)/lunet-export train $$name -o $(RUNS)/$$name.pt --force && \
		$(BIN)/lunet-export $(RUNS)/$$name.pt -o $(RUNS)/$$name --force && \
		$(BIN)/lunet-export diagnose $(RUNS)/$$name.pt $$name --json > $(RUNS)/$$name-diagnosis.json && \
		$(BIN)/lunet-export plot density $(RUNS)/$$name.pt $$name -o $(RUNS)/$$name-density.png || exit; done

test: setup-dev oldest lint
	$(BIN)/mypy -n 2
	$(BIN)/python -m pytest $(SHARED)

# For the one who writes: laws, references, graphs and contracts of structure. Nothing is trained or compiled.
test-quick: setup-dev lint
	$(BIN)/python -m pytest $(SHARED) -m 'not (slow or data or oldest)' $(QUICK)

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The suite under the kernels of older processors and with 1 and 2 threads, one setting after another: hours. Some settings, and
# arguments of pytest: make test-kernels KERNELS='sse-1 avx2-2 -- tests/flows'.
test-kernels: setup-dev oldest
	$(BIN)/python -m tests.kernels $(KERNELS)

# The CUDA provider itself, without a GPU: on a stand-in CUDA runtime. Needs Linux x86_64, gcc and binutils. In one
# process: all of its tests ask the same reports, which two processes at a time make.
test-cuda: setup-dev $(VENV)-cuda/setup
	$(BIN)/python -m pytest tests/cuda

# Every embedding, built and run; what is missing of compilers and Chromium comes from Debian. Needs Linux x86_64.
test-embed: setup-dev $(VENV)-embed/setup
	$(BIN)/python -m pytest $(SHARED) --dist loadfile tests/embedding

# What is exported for verifiers, read and answered by Marabou, which has wheels for Python up to 3.11.
test-marabou: setup-dev $(VENV)-marabou/setup
	$(BIN)/python -m pytest -rs tests/marabou

# What is released: wheel and sdist, built, looked into, and installed into fresh environments, each extra alone.
test-release: setup-dev $(VENV)-release/setup
	PIP_ARGS='$(PIP_ARGS)' $(BIN)/python -m pytest $(SHARED) tests/release

# Known vulnerabilities of everything that is pinned or installed. Asks a service on the network; fails where none answers.
audit: setup-dev $(VENV)-release/setup
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' > $(VENV)-release/installed.txt
	$(VENV)-release/bin/pip-audit --strict --disable-pip --no-deps $(AUDIT_ARGS) -r constraints.txt -r $(VENV)-release/installed.txt

# The site: the pages of docs/, a page for each command and each public module, search. Open site/index.html.
docs: setup-dev
	$(BIN)/python -m docs.assemble build/docs
	$(BIN)/zensical build --strict

fix: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The committed models, retrained and re-exported.
exported: setup
	OMP_NUM_THREADS=1 $(BIN)/lunet-export train two-moons -o exported/toy2d.pt --force
	$(BIN)/lunet-export exported/toy2d.pt -o exported/toy2d --force
	OMP_NUM_THREADS=1 $(BIN)/lunet-export train digits -o exported/digits.pt --force
	$(BIN)/lunet-export exported/digits.pt -o exported/digits --force
	OMP_NUM_THREADS=1 $(BIN)/lunet-export train digits --per-class -o exported/digits-classes.pt --force
	$(BIN)/lunet-export exported/digits-classes.pt -o exported/digits-classes --force

# The committed flows of other libraries, retrained and re-exported.
exported-gallery: setup-peers
	OMP_NUM_THREADS=1 $(BIN)/lunet-export import zuko benchmarks.gallery:committed_moons -o exported/zuko-nsf.pt --force
	$(BIN)/lunet-export exported/zuko-nsf.pt -o exported/zuko-nsf --force
	OMP_NUM_THREADS=1 $(BIN)/lunet-export import sbi benchmarks.gallery:committed_posterior -o exported/sbi-nsf.pt --force
	$(BIN)/lunet-export exported/sbi-nsf.pt -o exported/sbi-nsf --force

# The flows of science: parity, times beside PyTorch's export and eager PyTorch, errors in float32. 20 minutes on 2 cores.
bench-science: setup-peers
	rm -f benchmarks/results/science.json
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.science --threads 1
	$(BIN)/python -m benchmarks.pages

# Every question of benchmarks/README.md that needs no trained model, answered anew: within 20 minutes on 2 cores.
bench: setup-peers
	$(BIN)/python -m benchmarks.peers --seconds 4
	$(BIN)/python -m benchmarks.scaling --seconds 1
	$(BIN)/python -m benchmarks.train_step --seconds 6
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.roofline

# The tables of the documentation, written from what was measured; nothing is measured. After any of the benchmarks.
bench-pages: setup-dev
	$(BIN)/python -m benchmarks.pages

# The committed exports in every ONNX Runtime from 1.16 on, OpenVINO, onnx.reference and onnxruntime-web.
# Needs npm; environments and packages stay in .venv-compat. A quarter of an hour on 2 cores.
compat: setup
	$(BIN)/python -m benchmarks.compat

# Memory and answers over a million calls in Python and a million in C. Needs gcc. A quarter of an hour on 2 cores.
soak: setup
	$(BIN)/python -m benchmarks.soak

setup: $(VENV)/setup
setup-dev: $(VENV)/setup-dev
setup-peers: $(VENV)/setup-peers
oldest: $(VENV)-oldest/setup

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/setup: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt -e '.[train,$(RUNTIME)]'
	touch $@

$(VENV)/setup-dev: $(VENV)/setup
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt -e '.[train,$(RUNTIME),dev,peers]'
	touch $@

$(VENV)/setup-peers: $(VENV)/setup
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt -e '.[train,$(RUNTIME),peers]'
	touch $@

# The oldest supported ONNX Runtime has wheels for Python 3.11 at most; newer Pythons skip its tests and say so.
$(VENV)-oldest/setup:
	rm -rf $(VENV)-oldest && $(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install -q $(PIP_ARGS) 'onnxruntime==1.16.3' 'numpy==1.26.4' || \
		echo "no ONNX Runtime 1.16.3 for $$($(PYTHON) --version): its tests will be skipped"
	touch $@

# No package of NVIDIA's: the stand-in must not meet the real libraries.
$(VENV)-cuda/setup: pyproject.toml constraints.txt
	rm -rf $(VENV)-cuda && $(PYTHON) -m venv $(VENV)-cuda
	$(VENV)-cuda/bin/python -m pip install -q $(PIP_ARGS) -c constraints.txt -e . pillow onnxruntime-gpu
	touch $@

$(VENV)-embed/setup: tests/embedding/setup.sh tests/embedding/package.json
	tests/embedding/setup.sh $(VENV)-embed
	touch $@

$(VENV)-release/setup: constraints.txt
	rm -rf $(VENV)-release && $(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install -q $(PIP_ARGS) -c constraints.txt build twine pip-audit mypy
	touch $@

# Marabou wants older versions of NumPy and ONNX than ours.
$(VENV)-marabou/setup:
	rm -rf $(VENV)-marabou && $(PYTHON) -m venv $(VENV)-marabou
	$(VENV)-marabou/bin/python -m pip install -q $(PIP_ARGS) 'maraboupy==2.0.0' 'numpy==1.26.4' 'onnx==1.15.0' \
		'onnxruntime==1.19.2' 'protobuf<8' || echo "no Marabou for $$($(PYTHON) --version): its tests will be skipped"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-cuda $(VENV)-embed $(VENV)-marabou $(VENV)-release $(VENV)-compat $(DEMO) site build .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
