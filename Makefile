PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
GEMMA2 := $(VENV)/.installed-gemma2

EXPERIMENTS := unblock tuning objectives entropy_bonus anneal risk_1d risk_bandit \
	gradient_variance sample_weights

.PHONY: reproduce test check bench clean $(EXPERIMENTS) gemma2_factor

# Two experiments at a time, the longest first; each draws its figure when it is done.
reproduce: $(STAMP)  ## train every experiment and draw every figure
	$(MAKE) --no-print-directory -j2 $(EXPERIMENTS)
	if $(BIN)/python -c "import trl" 2> /dev/null; then $(MAKE) gemma2_factor; fi

$(EXPERIMENTS): $(STAMP)
	$(BIN)/pkpo-train experiment=$@
	$(BIN)/pkpo-figures $@

# What these share with unblock is trained there.
anneal objectives: unblock

gemma2_factor: $(GEMMA2)
	$(BIN)/pkpo-gemma2 experiment=$@ hydra/launcher=joblib
	$(BIN)/pkpo-figures $@

test: check  ## lint, types and every test, those of the language model included
	$(BIN)/pytest -n 2

check: $(GEMMA2)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)  ## speed of the transform and of training, both sides in one run
	$(BIN)/python tests/benchmarks/bench_transforms.py
	$(BIN)/python tests/benchmarks/bench_training.py

clean:
	rm -rf $(VENV) runs build dist *.egg-info

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

$(GEMMA2): $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,gemma2]'
	touch $@
