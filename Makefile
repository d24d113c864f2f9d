# make lab        set up on the first call, then open your own copy of the course in JupyterLab
# make test       every test and every notebook
# make lint       ruff on code and notebooks
# make notebooks  execute all notebooks and save them (ONLY="attention gpt" for some)
# make slides     a slide show of a notebook, to present offline (NB=attention)
# make glossary   docs/glossary.md anew, from the notebooks
# make site       the course as a web site, in site/; any browser opens it, without a network
# make bench      how fast all of it is, beside what else one would pick; then the explorers, in a real browser
# make doctor     what this machine has, and what is wrong with it
# make clean      forget the set-up

PYTHON ?= python3
# pytest-xdist's workers; a notebook's cells stay together on one of them
WORKERS ?= 2
ONLY ?=
NB ?= attention

VENV := .venv
BIN := $(VENV)/bin
INSTALL := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --editable
# Once after an install. matplotlib lists the machine's fonts on its first import: better now than in the reader's
# first cell. JupyterLab's announcements would ask the reader a question, and the network for updates.
WARM_UP = $(BIN)/python -c 'import torch, matplotlib.font_manager' && \
	$(BIN)/python -m jupyter labextension disable --level sys_prefix @jupyterlab/apputils-extension:announcements \
	>/dev/null 2>&1

# JupyterLab as readers have it: without the menus and buttons of what only a test needs.
HIDE = $(BIN)/python -m jupyter labextension disable --level sys_prefix \
	@jupyter/nbgrader @jupyter-notebook/lab-extension >/dev/null 2>&1

.PHONY: lab test lint notebooks slides glossary site bench doctor clean
.DELETE_ON_ERROR:

lab: $(VENV)/lab.stamp
	@$(BIN)/gptlib start
	$(BIN)/python -m jupyterlab work/00_welcome.ipynb \
		--LabApp.extension_manager=readonly $(if $(filter 0,$(shell id -u)),--allow-root)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations 10

lint: $(VENV)/test.stamp
	$(BIN)/python -m ruff check

notebooks: $(VENV)/test.stamp
	$(BIN)/python notebooks/execute.py $(ONLY)

slides: $(VENV)/lab.stamp
	$(BIN)/gptlib slides $(NB)

glossary: $(VENV)/lab.stamp
	$(BIN)/gptlib glossary

site: $(VENV)/test.stamp
	$(BIN)/gptlib site

bench: $(VENV)/test.stamp
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/explorers.py

doctor: $(VENV)/lab.stamp
	$(BIN)/gptlib doctor

clean:
	rm -rf $(VENV)

$(VENV)/lab.stamp: pyproject.toml constraints.txt $(VENV)/pyvenv.cfg
	$(INSTALL) '.[course]'
	@$(WARM_UP)
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt $(VENV)/pyvenv.cfg
	$(INSTALL) '.[test,nbgrader]'
	@$(WARM_UP)
	@$(HIDE)
	@touch $(VENV)/lab.stamp $@

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "There is no $(PYTHON) here: install Python 3.10 or newer, or name yours: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "This is $$($(PYTHON) --version 2>&1); the course needs Python 3.10 or newer. Name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Setting up in $(VENV): about a gigabyte, a few minutes, once."
	@$(PYTHON) -m venv $(VENV)
