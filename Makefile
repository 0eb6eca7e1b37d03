PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev

# Two experiments at a time, about as long in each list. objectives, unblock and anneal share runs,
# so they go one after the other. The last ones have both cores each.
SHARING := objectives unblock anneal
OTHERS := tuning entropy_bonus risk_1d risk_bandit sample_weights
LAST := digit_sum gradient_variance
EXPERIMENTS := $(SHARING) $(OTHERS) $(LAST)

.PHONY: reproduce sharing others test check bench gpu docs clean $(EXPERIMENTS) gemma2_factor

reproduce: $(STAMP)  ## train every experiment and draw every figure
	$(MAKE) --no-print-directory -j2 sharing others
	$(MAKE) --no-print-directory -j1 $(LAST) LAUNCHER=hydra/launcher=joblib
	if $(BIN)/python -c "import trl" 2> /dev/null; then $(MAKE) gemma2_factor; fi

sharing others: $(STAMP)
	set -e; for name in $(if $(filter sharing,$@),$(SHARING),$(OTHERS)); do \
		$(MAKE) --no-print-directory $$name; done

$(EXPERIMENTS): $(STAMP)
	$(BIN)/pkpo-train experiment=$@ $(LAUNCHER)
	$(BIN)/pkpo-figures $@

gemma2_factor: $(DEV)
	$(BIN)/pkpo-gemma2 experiment=$@ hydra/launcher=joblib
	$(BIN)/pkpo-figures $@

test: check  ## lint, types and every test, those of the language model included
	$(BIN)/pytest -n 2

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)  ## speed of the transform, of training and of sweeps, both sides in one run
	$(BIN)/python tests/benchmarks/bench_transforms.py
	$(BIN)/python tests/benchmarks/bench_training.py
	$(BIN)/python tests/benchmarks/bench_sweeps.py

gpu: $(DEV)  ## what only a GPU can show, in about 8 minutes; results in runs/gpu
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
