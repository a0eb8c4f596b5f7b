# Two commands do all the set-up: `make demo` and `make test`. Each makes its own virtual
# environment and reaches nothing but the package registries.
PYTHON ?= python3
# Extra pip arguments for torch, e.g. TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu".
# Where none are given and Linux shows no NVIDIA driver, `make demo` asks PyTorch's index of CPU builds,
# too: "2.13.0+cpu" comes before the registry's "2.13.0", which carries CUDA. Where that index cannot
# be reached pip says so and takes the registry's. What torch needs comes with the second install.
CPU_TORCH := $(shell [ "$$(uname -sm)" = "Linux x86_64" ] && [ ! -e /proc/driver/nvidia/version ] \
	&& echo --extra-index-url https://download.pytorch.org/whl/cpu)
DEMO_TORCH = $(if $(filter undefined,$(origin TORCH_ARGS)),$(CPU_TORCH),$(TORCH_ARGS))
DEMO := .venv-demo
DEV := .venv
PIP := -m pip install --disable-pip-version-check --quiet

.PHONY: demo test lint fmt bench docs clean

demo: $(DEMO)/.installed  ## the main job on a clip that the project rendered itself
	$(DEMO)/bin/hpsvid run samples/studio_walk.mp4 --out out/studio_walk_overlay.mp4

test: $(DEV)/.installed  ## the whole test suite
	$(DEV)/bin/python -m pytest

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/pyright
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python -m tools.budget

fmt: $(DEV)/.installed
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

bench: $(DEV)/.installed  ## speed of each stage and accuracy on the samples
	$(DEV)/bin/hpsvid bench samples --html out/bench.html

docs: $(DEV)/.installed  ## the documentation site, out/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/mkdocs build --strict --quiet

# torch comes first and pinned: a later package that wants torchvision would otherwise replace a
# CPU build of torch by several GB of CUDA.
$(DEMO)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(PIP) --no-deps $(DEMO_TORCH) -r constraints.txt
	$(DEMO)/bin/python $(PIP) -c constraints.txt -e .
	touch $@

$(DEV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PIP) $(TORCH_ARGS) -r constraints.txt
	$(DEV)/bin/python $(PIP) -c constraints.txt -e '.[dev]'
	# ultralytics brings the opencv that needs a desktop's libGL; it shares files with ours
	$(DEV)/bin/python -m pip uninstall --quiet --yes opencv-python
	$(DEV)/bin/python $(PIP) --force-reinstall --no-deps opencv-python-headless
	touch $@

clean:
	rm -rf $(DEMO) $(DEV) out build dist
