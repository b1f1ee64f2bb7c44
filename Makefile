# Everything a learner or an author types. `make help` lists it.
# Written for GNU make 3.81, which is what macOS ships.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Which set-up steps are done is kept inside .venv, so that deleting .venv starts from nothing.
MADE := $(VENV)/.made
# A later `make lab` keeps the choice that `make setup CUDA=1` made.
CUDA ?= $(if $(wildcard $(VENV)/.installed-cuda),1,)
INSTALLED := $(VENV)/.installed$(if $(filter 1,$(CUDA)),-cuda,)
FETCHED := $(VENV)/.fetched
BUILT := $(VENV)/.built

NATIVE := $(wildcard extensions/CMakeLists.txt extensions/runtime/* extensions/reference/* course_lib/kernels/*.py)

# A notebook takes at most 70 s; the limit for one cell leaves room for a slow machine.
NBVAL := $(BIN)/pytest --nbval-current-env --nbval-cell-timeout=180 -q
COPIES := build/nbval

.DELETE_ON_ERROR:
.PHONY: help setup lab test doctor bench notebooks clean distclean

help:
	@echo 'make lab         set up if needed, then open the course in JupyterLab'
	@echo '                   LAB_ARGS="--no-browser --port 8899" is passed on to JupyterLab'
	@echo 'make setup       set up only: .venv, packages, model, native code'
	@echo '                   PYTHON=python3.12 chooses the Python, CUDA=1 adds MLX for NVIDIA GPUs'
	@echo 'make test        set up if needed, then the unit tests and every notebook'
	@echo 'make doctor      say what works on this machine, and how to mend what does not'
	@echo 'make bench       time the course against MLX and mlx-lm on this machine'
	@echo 'make notebooks   for authors: write notebooks/ from notebooks/source/'
	@echo 'make clean       remove build/ and caches; your notebooks and progress stay'
	@echo 'make distclean   make clean, and remove .venv too'

setup: $(INSTALLED) $(FETCHED) $(BUILT)

lab: setup
	@$(BIN)/course lab $(LAB_ARGS)

# Three runs, and the first red one ends it: the parts, the starters untouched (every exercise amber, no
# exception), the solutions strict (every exercise green, outputs as stored).
test: setup
	$(BIN)/pytest tests
	$(BIN)/course notebooks --copies $(COPIES)
	COURSE_STORE=$(COPIES)/store-starters $(NBVAL) --nbval-lax $(COPIES)/starters
	COURSE_STRICT=1 COURSE_STORE=$(COPIES)/store-solutions $(NBVAL) --nbval $(COPIES)/solutions

# Not `doctor: setup`: it must run where set-up fails.
doctor:
	@if [ -x $(BIN)/course ]; then $(BIN)/course doctor; \
	else echo 'There is no $(VENV) yet. Make it with: make setup'; exit 1; fi

bench: setup
	@$(BIN)/course bench $(BENCH_ARGS)

notebooks: setup
	@$(BIN)/course notebooks $(NOTEBOOKS)

clean:
	rm -rf build .pytest_cache .hypothesis $(BUILT)
	find course_lib tests notebooks extensions -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV) *.egg-info

# --- the steps of set-up -----------------------------------------------------------------------------------

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
  echo "$(PYTHON) cannot make virtual environments: its modules venv and ensurepip are a package of their own."; \
  echo "  Debian, Ubuntu:  sudo apt install python$$version-venv"; \
  echo 'Then: make setup'; \
  exit 1; \
fi
endef

# .venv/.installing is there while pip works. Found at the start of a step, it says that the last one was cut
# off, perhaps in the middle of a package, which pip takes for whole: then .venv is made anew.
$(MADE):
	@$(CHECK_PYTHON)
	@echo '[1/4] A virtual environment in $(VENV), with '"$$('$(PYTHON)' --version)"' (about 5 s)'
	@'$(PYTHON)' -m venv --clear '$(VENV)'
	@touch $@

$(INSTALLED): pyproject.toml $(MADE)
	@if [ -e $(VENV)/.installing ]; then \
	  echo 'The last set-up was cut off: $(VENV) is made anew (downloads are kept).'; \
	  rm -f $(MADE) $(VENV)/.installed*; $(MAKE) --no-print-directory $(MADE); \
	fi
	@echo '[2/4] Packages into $(VENV): SIZE_HERE (2 to 5 minutes the first time)'
	@touch $(VENV)/.installing
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.$(if $(filter 1,$(CUDA)),[cuda],)'
	@rm -f $(VENV)/.installing $(FETCHED) $(BUILT)
	@touch $@

$(FETCHED): $(INSTALLED)
	@echo '[3/4] The model SmolLM2-135M-Instruct: 93 MB to download, then converted once (about 30 s)'
	@$(BIN)/course fetch
	@touch $@

$(BUILT): $(INSTALLED) $(NATIVE)
	@echo '[4/4] The native code, compiled for this machine (about a minute)'
	@$(BIN)/course build
	@touch $@
