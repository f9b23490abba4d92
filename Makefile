PYTHON ?= python3
PYTEST_ARGS ?= -n 2
BIN := .venv/bin
READY := .venv/.dev
DOCS_READY := .venv/.docs
EXTRAS := .venv/extras
EXTRA_PACKAGES := timm torchvision onnx onnxruntime onnxscript onnx-ir ml_dtypes flatbuffers protobuf
EXTRA_TESTS := tests/models/test_ea_aa_resnet_timm.py tests/models/test_timm_suite.py \
	tests/models/test_ea_aa_resnet_export.py \
	tests/tasks/test_image_augmentation.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-extras lint format docs bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## train an EA-DC-Transformer and its twin, compare them, draw the maps
	@$(BIN)/python examples/demo.py

test: $(READY) ## run the tests; PYTEST_ARGS='-n 0 -k mask' passes options on
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

test-extras: $(EXTRAS) ## run the tests that need timm or onnxruntime, which are kept beside .venv
	@OMP_NUM_THREADS=1 PYTHONPATH=$(EXTRAS) $(BIN)/python -m pytest -n 0 $(EXTRA_TESTS)

lint: $(READY) ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src

format: $(READY) ## format the code and sort its imports
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

docs: $(DOCS_READY) ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY) ## time layers and training steps on the CPU, write docs/results/performance.md
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/training_step.py --output docs/results
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/attention_cpu.py --output docs/results
	@$(BIN)/python docs/results/performance.py

clean: ## remove the environment, builds and caches; keeps runs/
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "evolving-attention needs Python 3.11 or newer, and '$(PYTHON)' is not one: try 'make PYTHON=python3.11 ...'." >&2; exit 1; }
	@echo "Installing into .venv: once, and again when the pins change."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(DOCS_READY): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

# Without dependencies: torchvision would bring another torch, and the rest is in .venv.
$(EXTRAS): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt \
		--upgrade --target $@ $(EXTRA_PACKAGES)
	@touch $@
