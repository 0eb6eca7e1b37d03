PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
ZOO := $(VENV)/.installed-zoo

# The number of experiments that make reproduce trains at the same time.
JOBS ?= 2

# An experiment has a file in conf/experiment/, or in conf/gemma2/experiment/ for the language model,
# and a figure of the same name in the gallery. Runs that two experiments share are trained once.
stems = $(sort $(notdir $(basename $(wildcard $(1)))))
GALLERY := $(call stems,pkpo_sandbox/figures/gallery/*.py)
EXPERIMENTS := $(filter $(GALLERY),$(call stems,conf/experiment/*.yaml))
LANGUAGE := $(filter $(GALLERY),$(call stems,conf/gemma2/experiment/*.yaml))

.PHONY: reproduce gallery test check bench docs clean $(EXPERIMENTS) $(LANGUAGE)
.PHONY: $(EXPERIMENTS:%=train-%) $(LANGUAGE:%=train-%)

reproduce: $(STAMP)  ## train every experiment, draw every figure in runs/figures, check the claims
	$(MAKE) --no-print-directory -j$(JOBS) $(EXPERIMENTS:%=train-%)
	if $(BIN)/python -c "import trl" 2> /dev/null; then \
		$(MAKE) --no-print-directory $(LANGUAGE:%=train-%); fi
	$(BIN)/pkpo-figures --verdict

gallery: $(STAMP)  ## redraw the committed figures from the runs of make reproduce
	$(BIN)/pkpo-figures --output figures

$(EXPERIMENTS) $(LANGUAGE): %: train-%
	$(BIN)/pkpo-figures $@ --verdict

$(EXPERIMENTS:%=train-%): train-%: $(STAMP)
	$(BIN)/pkpo-train experiment=$*

$(LANGUAGE:%=train-%): train-%: $(DEV)
	$(BIN)/pkpo-gemma2 experiment=$* hydra/launcher=joblib

test: check $(ZOO)  ## lint, types and every test, including those of the language model
	$(BIN)/pytest -n 2

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)  ## speed of the transform, of training and of sweeps
	$(BIN)/python tests/benchmarks/bench_transforms.py
	$(BIN)/python tests/benchmarks/bench_training.py
	$(BIN)/python tests/benchmarks/bench_lanes.py
	$(BIN)/python tests/benchmarks/bench_sweeps.py

gpu: $(DEV)  ## the checks that need a GPU, in about 8 minutes; results in runs/gpu
	$(BIN)/python tests/gemma2/measure_gpu.py runs/gpu

docs: $(DEV)  ## the site, in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) runs build dist docs/_build docs/generated *.egg-info

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[joblib]'
	touch $@

$(DEV): $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,gemma2]'
	touch $@

$(ZOO): $(DEV)  # RL Zoo needs another Optuna than Hydra's plugin; only one test uses it
	$(BIN)/python tests/citizenship/zoo_env.py
	touch $@
