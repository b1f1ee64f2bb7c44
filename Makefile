# Everything a learner or an author types. `make help` lists it.
# Written for GNU make 3.81, which is what macOS ships.

PYTHON ?= python3
# Never the user's choice: set-up empties this folder.
override VENV := .venv
BIN := $(VENV)/bin

# What is done is noted inside .venv, so that deleting .venv starts from nothing.
MADE := $(VENV)/.made
# A later `make lab` keeps the choice that `make setup CUDA=1` made.
CUDA ?= $(if $(wildcard $(VENV)/.installed-cuda),1,)
WITH_CUDA := $(filter 1,$(CUDA))
INSTALLED := $(VENV)/.installed$(if $(WITH_CUDA),-cuda,)
FETCHED := $(VENV)/.fetched

# A notebook takes at most 70 s; the limit for one cell leaves room for a slow machine.
NBVAL := $(BIN)/pytest --nbval-current-env --nbval-cell-timeout=180
COPIES := build/nbval
# Absolute, since a notebook's kernel runs in the notebook's folder.
STORE := $(CURDIR)/$(COPIES)/store

.DELETE_ON_ERROR:
.PHONY: help setup lab test bench loadtest doctor notebooks metallib clean distclean

help:
	@echo 'make lab         set up if needed, then open the course in JupyterLab'
	@echo '                   LAB_ARGS="--no-browser --port 8899" is passed on to JupyterLab'
	@echo 'make setup       set up only: .venv, packages, model, native kernels'
	@echo '                   PYTHON=python3.12 chooses the Python, CUDA=1 adds MLX for NVIDIA GPUs'
	@echo 'make test        set up if needed, then the unit tests and every notebook'
	@echo 'make bench      the native kernels against stock mlx-lm and MLX (a few minutes); BENCH_ARGS="--help"'
	@echo 'make loadtest    requests, killed clients and bad requests for the HTTP server (a few minutes); LOADTEST_ARGS="--help"'
	@echo 'make doctor      say what works on this machine, and how to mend what does not'
	@echo 'make notebooks   for authors: write notebooks/ from notebooks/source/'
	@echo 'make metallib    on a Mac: compile the Metal kernels with Xcode'"'"'s compiler'
	@echo 'make clean       remove build/ and caches; your notebooks and progress stay'
	@echo 'make distclean   make clean, and remove .venv too'

setup: $(FETCHED)
	@$(BUILD)
	@$(if $(filter setup,$(MAKECMDGOALS)),echo 'Everything is set up. Open the course with: make lab',:)

# Without the native kernels everything runs on MLX's own, many times slower: no reason to keep anyone out.
lab: $(FETCHED)
	@$(BUILD) || echo 'Going on without the native kernels: the model is many times slower. make doctor says more.'
	@$(BIN)/course lab $(LAB_ARGS)

# Three runs, and the first red one ends it: the parts, the starters untouched (every exercise amber, no
# exception), the solutions strict (every exercise green, outputs as stored).
test: setup
	$(BIN)/pytest tests
	$(BIN)/course notebooks --copies $(COPIES)
	COURSE_STORE='$(STORE)-starters' $(NBVAL) --nbval-lax $(COPIES)/starters
	COURSE_STRICT=1 COURSE_STORE='$(STORE)-solutions' $(NBVAL) --nbval $(COPIES)/solutions

bench: setup
	$(BIN)/python -m bench $(BENCH_ARGS)

loadtest: setup
	$(BIN)/python -m bench.loadtest $(LOADTEST_ARGS)

# Not `doctor: setup`, nor $(BIN)/course: it must run where set-up failed half-way.
doctor:
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m course_lib.cli doctor; \
	else echo 'There is no $(VENV) yet. Make it with: make setup'; exit 1; fi

notebooks: setup
	@$(BIN)/course notebooks $(NOTEBOOKS)

# On a Mac: Apple's own compiler, ahead of time. Everywhere else Metal kernels run in the emulator.
metallib: setup
	@$(BIN)/python -m course_lib.kernels.metal metallib build/metallib $(wildcard extensions/reference/*.metal bench/*.metal)

clean:
	rm -rf build .pytest_cache .hypothesis
	find course_lib tests notebooks extensions -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV) *.egg-info

# --- the steps of set-up -----------------------------------------------------------------------------------

# What course_lib.doctor needs to run at all; it then checks the rest of the machine.
define CHECK_PYTHON
if ! command -v '$(PYTHON)' >/dev/null 2>&1; then \
  echo '$(PYTHON) was not found. The course needs Python 3.11 or later. Install it, then: make setup'; \
  echo '  Debian, Ubuntu:  sudo apt install python3 python3-venv'; \
  echo '  macOS:           brew install python@3.12'; \
  echo 'Or name one that you have: make setup PYTHON=/path/to/python3.12'; \
  exit 1; \
fi; \
if ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
  echo "$(PYTHON) is $$('$(PYTHON)' --version 2>&1). The course needs Python 3.11 or later."; \
  for newer in python3.13 python3.12 python3.11; do \
    if "$$newer" --version >/dev/null 2>&1; then \
      echo "This machine has $$newer: make setup PYTHON=$$newer"; exit 1; \
    fi; \
  done; \
  echo 'Install a later one, then name it: make setup PYTHON=python3.12'; \
  echo '  Debian 12, Ubuntu 24.04 or later:  sudo apt install python3 python3-venv'; \
  echo '  macOS:                             brew install python@3.12'; \
  exit 1; \
fi; \
if ! '$(PYTHON)' -c 'import ensurepip, venv' >/dev/null 2>&1; then \
  version=$$('$(PYTHON)' -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
  echo "$(PYTHON) cannot make virtual environments: venv and ensurepip are a package of their own here."; \
  echo "  Debian, Ubuntu:  sudo apt install python$$version-venv"; \
  echo 'Then: make setup'; \
  exit 1; \
fi; \
if ! PYTHONDONTWRITEBYTECODE=1 '$(PYTHON)' -m course_lib.doctor --before-setup; then \
  echo 'Mend this, then: make setup'; exit 1; \
fi
endef

# .venv is made anew if its Python is gone, if the checkout has moved (its scripts name their old place), if
# .venv/.installing says that pip was cut off (it may have been in the middle of a package, and pip would take
# that package for whole), or if CUDA=0 takes back CUDA=1.
SOUND := $(shell [ -x $(BIN)/python ] && [ "`cat $(MADE) 2>/dev/null`" = "`pwd`" ] && \
                 [ ! -e $(VENV)/.installing ] && \
                 $(if $(WITH_CUDA),,[ ! -e $(VENV)/.installed-cuda ] &&) echo yes)
ifneq ($(SOUND),yes)
$(MADE): FORCE
endif
.PHONY: FORCE
FORCE:

$(MADE):
	@$(CHECK_PYTHON)
	@echo "[1/4] A virtual environment in $(VENV), with $$('$(PYTHON)' --version) (a few seconds)"
	@'$(PYTHON)' -m venv --clear $(VENV)
	@pwd > $@

define CHECK_CUDA
if ! $(BIN)/python -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null; then \
  echo 'CUDA=1 needs an NVIDIA GPU on Linux and its driver; libcuda.so.1 was not found.'; \
  echo 'Install the driver and try again, or go without the GPU: make setup CUDA=0'; \
  exit 1; \
fi
endef

# With CUDA=1, MLX's CPU package comes too, and both bring mlx/lib/libmlx.so: the one installed last stays.
$(INSTALLED): pyproject.toml $(MADE)
	@$(if $(WITH_CUDA),$(CHECK_CUDA),:)
	@echo '[2/4] Packages into $(VENV): about $(if $(WITH_CUDA),2.4 GB,260 MB) to download,' \
	      '$(if $(WITH_CUDA),4.4 GB,1.2 GB) on disk (1 to 5 minutes the first time)'
	@touch $(VENV)/.installing
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.$(if $(WITH_CUDA),[cuda],)'
ifeq ($(WITH_CUDA),1)
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --force-reinstall \
	    mlx-cuda-13==$$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("mlx"))')
endif
	@rm -f $(VENV)/.installing
	@touch $@

$(FETCHED): $(INSTALLED)
	@echo '[3/4] The model, SmolLM2-135M-Instruct: 93 MB to download, once (about half a minute)'
	@$(BIN)/course fetch
	@touch $@

# Not a file of make's: what is built lies in the user's cache folder, filed under the sources, the compiler
# and the processor. Whether it is there takes a tenth of a second to see.
define BUILD
$(BIN)/course build --check >/dev/null 2>&1 || { \
  echo '[4/4] The native kernels, compiled for this machine (about a minute)'; \
  $(BIN)/course build; \
}
endef
