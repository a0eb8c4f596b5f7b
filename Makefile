# Two commands do all the set-up: `make demo` and `make test`. Each makes its own virtual
# environment and reaches nothing but the package registries.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint fmt

demo: $(VENV)/.installed
	$(BIN)/hpsvid run samples/studio_walk.mp4 --out out/studio_walk_overlay.mp4

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

fmt: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
