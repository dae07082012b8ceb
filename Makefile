# Everything happens in .venv in this checkout; nothing needs to be installed beforehand
# but Python 3.11 or newer and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Some extras have environments of their own, which find the rest in the first one.
CV := .venv-cv
ONNX := .venv-onnx
RAY := .venv-ray
LOGGERS := .venv-loggers
DOCS := .venv-docs
MUTATE := .venv-mutate
PAGE := docs/examples/browser
KOTLIN := tests/export/kotlin
# Runtimes of the last years: a package's name and its version.
OLD := .venv-runtimes
RUNTIMES ?= tflite-runtime-2.14.0 ai-edge-litert-1.0.1 ai-edge-litert-1.4.0 tensorflow-cpu-2.15.1 \
	tensorflow-cpu-2.16.2 tensorflow-cpu-2.17.1 tensorflow-cpu-2.18.1 tensorflow-cpu-2.19.1 \
	tensorflow-cpu-2.20.0 onnxruntime-1.15.1 onnxruntime-1.20.1
IN_RUNTIMES = $(patsubst %,$(OLD)/%/.installed,$(RUNTIMES))
# Two processes, a file's tests in one of them: what a file prepares is prepared once.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help quickstart install dev test test-slow test-cv test-onnx test-ray test-loggers test-browser test-kotlin \
	test-runtimes runtimes mutate mediapipe docs lint format check clean

help:            ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

quickstart: install  ## Fine-tune a real BERT on real texts, export it, check it (about 3 minutes)
	$(BIN)/tltool finetune quickstart

install: $(VENV)/.installed  ## Make the environment and install tltool

dev: $(VENV)/.dev  ## The same with the tools for development

test: dev  ## Run the tests
	$(PYTEST) -m "not slow"

test-slow: dev  ## Run the tests that take longest
	$(PYTEST) -m slow $$(grep -rl "mark\.slow" tests)

test-cv: $(CV)/.installed  ## Run the tests of the extra [cv], keras-cv, in an environment of its own
	$(CV)/bin/python -m pytest tests/data/images/test_keras_cv.py tests/backbones/test_keras_cv_backbones.py

test-onnx: $(ONNX)/.installed  ## Run the tests of the extra [onnx] in an environment of its own
	$(ONNX)/bin/python -m pytest tests/export/test_export_onnx.py

test-ray: $(RAY)/.installed  ## Run the tests of the extra [ray] in an environment of its own
	$(RAY)/bin/python -m pytest tests/support/test_ray_cluster.py tests/finetuning/launching/test_ray.py

test-loggers: $(LOGGERS)/.installed  ## Run the tests of the extra [mlflow] in an environment of its own
	$(LOGGERS)/bin/python -m pytest tests/finetuning/test_loggers.py

test-browser: dev $(PAGE)/node_modules/.installed  ## Run exported models and look at pages in headless Chromium (needs Node.js)
	$(BIN)/python -m pytest tests/export/test_browser.py tests/report/test_pages_in_browser.py -m "not slow"

test-kotlin: dev $(KOTLIN)/node_modules/.installed  ## Compile the Kotlin of exports (needs Java and Node.js)
	@command -v java > /dev/null || { echo "The tests of Kotlin need Java 11 or newer."; exit 1; } >&2
	$(BIN)/python -m pytest tests/export/test_kotlin.py

test-runtimes: $(ONNX)/.installed $(IN_RUNTIMES)  ## Run exported models in runtimes of the last years (8 GB)
	$(ONNX)/bin/python -m pytest tests/export/test_runtimes.py

runtimes: $(ONNX)/.installed $(IN_RUNTIMES)  ## Write the table of runtimes and exports into benchmarks/RESULTS.md
	$(ONNX)/bin/python benchmarks/runtimes.py

mutate: $(MUTATE)/.installed  ## Put faults into the core and see that its tests notice (benchmarks/README.md)
	$(MUTATE)/bin/python benchmarks/mutate.py $(ARGUMENTS)

mediapipe: dev  ## Install MediaPipe, without which the tests that load exports in it are skipped
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mediapipe]'

docs: $(DOCS)/.installed  ## Build the documentation as a site into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

lint: dev  ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: dev  ## Put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test  ## What must pass before a commit

clean:  ## Remove the environment and what tools left behind
	rm -rf $(VENV) $(CV) $(ONNX) $(RAY) $(LOGGERS) $(DOCS) $(MUTATE) $(OLD) $(PAGE)/node_modules $(KOTLIN)/node_modules dist build site .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tltool needs Python 3.11 or newer; name it with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml
	@echo "Installing tltool and TensorFlow into $(VENV): about two minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# An environment of an extra's own, by the extra's name.
define extra
	$(BIN)/python -m venv --clear $(@D)
	@echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tltool.pth
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(1)]'
	@touch $@
endef

$(CV)/.installed: $(VENV)/.dev
	$(call extra,cv)

$(ONNX)/.installed: $(VENV)/.dev
	$(call extra,onnx)

$(RAY)/.installed: $(VENV)/.dev
	$(call extra,ray)

$(LOGGERS)/.installed: $(VENV)/.dev
	$(call extra,mlflow)

# Needs nothing of tltool's own: its docstrings are read, not imported.
$(DOCS)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m venv --clear $(@D)
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		| xargs $(@D)/bin/python -m pip install --quiet --disable-pip-version-check
	@touch $@

$(MUTATE)/.installed: $(VENV)/.dev
	$(call extra,mutate)

$(OLD)/%/.installed:
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check pillow "numpy<2" \
		$(shell echo $* | sed 's/-\([0-9.]*\)$$/==\1/')
	@touch $@

%/node_modules/.installed: %/package-lock.json
	@command -v npm > /dev/null || { echo "This needs Node.js 20 or newer with npm."; exit 1; } >&2
	cd $* && npm ci --no-audit --no-fund
	@touch $@
