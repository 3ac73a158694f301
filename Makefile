# `make reproduce-fcn8s` and `make test` need Python 3.11 or newer, make and the package registry; the rest is made here.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# opencv and onnx are large, and only some tests need them: .ci/run adds them, others skip those tests.
EXTRAS ?= dev

.PHONY: install peers test quick test-lowest opencv5 fuzz fuzz-nets lint docs layer-table architecture screenshots dist reproduce-fcn32s reproduce-fcn16s reproduce-fcn8s miniature-classifier miniature-table paper proto clean
.DEFAULT_GOAL := install

install: $(INSTALLED)

# Installs again only when what is to be installed has changed.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

# What `repro bench` compares with: OpenCV, and torchfcn, of which only the models are used (--no-deps: not what its trainer needs).
peers: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt opencv-python-headless
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps torchfcn==1.9.7

test: $(INSTALLED)
	$(BIN)/python -m pytest $(TESTS)

# What to run while one works, meant to take under a minute on two cores: the tests of what stands below `repro`, without those
# that are marked slow. TESTS=tests/repro/scoring has others; `make test` has all.
quick: $(INSTALLED)
	$(BIN)/python -m pytest -q -m 'not slow' $(or $(TESTS),tests/test_house.py tests/converters tests/surgery tests/reference)

# All tests in the lowest versions that setup.cfg allows, in an environment of their own. No part of CI: the registry's torch
# 2.7 brings CUDA along (3 GB to fetch), and the tests take as long as `make test`. TESTS=tests/converters for some of them.
LOWEST := $(VENV)-lowest
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest $(TESTS)
$(LOWEST)/.installed: setup.cfg tests/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check --constraint $(LOWEST)/constraints.txt --editable '.[dev]'
	@touch $@

# OpenCV 5, in an environment of its own beside the 4 that reads Caffe's files: some tests compare with it.
OPENCV5 := $(VENV)-opencv5
opencv5: $(OPENCV5)/.installed
$(OPENCV5)/.installed:
	$(PYTHON) -m venv $(OPENCV5)
	$(OPENCV5)/bin/pip install --quiet --disable-pip-version-check 'opencv-python-headless>=5,<6'
	@touch $@

# Coverage-guided fuzzing of all that reads files, SECONDS for each reader; FUZZ=caffemodel for one of them.
FUZZ ?= caffemodel hdf5 solverstate solverstate-hdf5 mean prototxt solver safetensors
SECONDS ?= 60
fuzz: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	for reader in $(FUZZ); do $(BIN)/python tests/fuzz/fuzz_readers.py $$reader -max_total_time=$(SECONDS) || exit 1; done

# Random small nets, from SEED on, computed in several ways: the generated source, the fast path, ONNX and OpenCV.
SEED ?= 0
fuzz-nets: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[onnx,opencv]'
	PYTHONPATH=tests $(BIN)/python -m fuzz.fuzz_nets --seconds $(SECONDS) --seed $(SEED) $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy

# The documentation, as a folder of pages: site/index.html.
docs: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/mkdocs build --strict

# The docs' table of layers, from the layers' docstrings.
layer-table: $(INSTALLED)
	$(BIN)/python docs/layer_table.py > docs/layers.md

# The docs' picture of the packages and their wings, from the imports of this checkout.
architecture: $(INSTALLED)
	$(BIN)/python docs/architecture.py > docs/architecture.svg

# The docs' pictures of the report and of the local page, of a finished RUN; needs Chromium.
screenshots: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python docs/screenshots.py $(or $(RUN),runs/voc-fcn8s)

# The wheel and the source archive, in dist/.
dist: $(INSTALLED)
	$(BIN)/python -m build --no-isolation

# With no data this is the miniature. The paper's job in full:
#   make reproduce-fcn8s DATA=/path/VOC2011 SBD=/path/benchmark_RELEASE/dataset WEIGHTS=VGG_ILSVRC_16_layers.caffemodel
reproduce-fcn32s reproduce-fcn16s reproduce-fcn8s: reproduce-%: $(INSTALLED)
	$(BIN)/repro reproduce voc-$* $(if $(DATA),--data '$(DATA)') $(if $(SBD),--sbd '$(SBD)') \
	    $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(RUN),-o '$(RUN)') $(ARGS)

# Remakes repro/miniature/vgg16-eighth.caffemodel, which the miniature starts from.
miniature-classifier: $(INSTALLED)
	$(BIN)/python -m repro.miniature.classifier

# The README's table of the miniature: three seeds, with and without a fixed trunk (about half an hour).
miniature-table: $(INSTALLED)
	$(BIN)/python -m repro.reproduction.seeds_table

# Ours beside the paper's, row by row; STRICT=1 fails where weights or data are not at hand.
paper: $(INSTALLED)
	$(BIN)/repro verify $(if $(STRICT),--strict) $(ARGS)

# Remakes converters/caffe_pb2.py with the oldest protobuf that setup.cfg allows, so that every newer one can read it.
proto: $(INSTALLED)
	$(PYTHON) -m venv $(VENV)-proto
	$(VENV)-proto/bin/pip install --quiet 'setuptools<80' grpcio-tools==1.62.3
	$(VENV)-proto/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. converters/caffe.proto

clean:
	rm -rf $(VENV) $(VENV)-proto $(OPENCV5) $(LOWEST) build *.egg-info .pytest_cache .ruff_cache .mypy_cache site dist
